/** One connection: encodes, matches answers with requests, and knows when to doubt it. Pure. */

import type { Codec, Frame } from "../../codec.js";
import type { ClientMessage, ErrorMessage, ReplyMessage } from "../../contract.js";
import { RequestRefused } from "../../errors.js";
import type { Transport } from "../events.js";
import type { HttpErrorMessage } from "./http_transport.js";

// The most requests that are remembered, as an answer counts even after its call has ended.
const MAX_WAITING = 256;

/**
 * When a client checks its connection, in seconds.
 *
 * After `answerS` without an answer to a request, or `idleS` without any frame, it pings; if nothing
 * comes within `pongS`, the connection is half-open and the client drops it. So a dead one is
 * detected well within the 30 s for which an offer is open.
 */
export interface Liveness {
  answerS: number;
  idleS: number;
  pongS: number;
}

export const LIVENESS: Liveness = { answerS: 5, idleS: 10, pongS: 8 };

/** How a request ends. */
export interface Settling {
  onReply(reply: ReplyMessage): void;
  onRefusal(refusal: RequestRefused): void;
  /** It was not answered in time, was given up, or the client has stopped. */
  onFailure(error: Error): void;
}

/** A request that is repeated on the next connection if one ends, until `deadlineMs` (uptime). */
export interface Request extends Settling {
  make(id: number): ClientMessage;
  deadlineMs: number;
  /** Whether all buffered fixes must precede it. */
  afterFixes: boolean;
  /** Whether it waits for them on this connection. */
  waits?: boolean;
  /** Whether it ends with its connection instead. */
  ofLink?: boolean;
  /** Answered, timed out or given up: not repeated. A late answer still counts. */
  over: boolean;
}

export class Link {
  /** The uptime of the first `hello`, until its `welcome` came. */
  askedUpMs?: number;
  welcomedUpMs?: number;
  pingMs = 25_000;
  /** Whether the transport can ping by itself. */
  canPing = false;
  private readonly waiting = new Map<number, Request>();
  private nextId = 1;

  constructor(
    readonly number: number,
    readonly over: Transport,
    readonly url: string,
    private readonly codec: Codec,
    public token: string,
  ) {}

  get hasUnanswered(): boolean {
    return [...this.waiting.values()].some((request) => !request.over);
  }

  encode(message: ClientMessage): Frame {
    return this.codec.encode(message);
  }

  decode(frame: Frame): ReturnType<Codec["decode"]> {
    return this.codec.decode(frame);
  }

  /** A request that every engine answers with an error, because it is unknown. */
  probe(): Frame {
    const probe = { type: "client_ping", id: this.nextId++ };
    return this.codec.encode(probe as unknown as ClientMessage);
  }

  /** Give a request an id, remember it and return its frame. */
  ask(request: Request): Frame {
    const id = this.nextId++;
    this.waiting.set(id, request);
    if (this.waiting.size > MAX_WAITING) {
      const old = [...this.waiting].find(([, each]) => each.over);
      if (old !== undefined) this.waiting.delete(old[0]);
    }
    return this.encode(request.make(id));
  }

  /**
   * Every unanswered request, which the engine may have lost; returns what gives their frames, under
   * their ids. Requests that follow are not among them.
   */
  unanswered(): () => Frame[] {
    const lost = [...this.waiting].filter(([, request]) => !request.over);
    return () => lost.map(([id, request]) => this.encode(request.make(id)));
  }

  /** Pass an answer to its request, and return that. */
  settle(answer: ReplyMessage | ErrorMessage): Request | undefined {
    const request = this.waiting.get(answer.id ?? 0);
    if (request === undefined) return undefined;
    this.waiting.delete(answer.id ?? 0);
    if (answer.type === "reply") request.onReply(answer);
    else request.onRefusal(refusalOf(answer));
    request.over = true;
    return request;
  }
}

function refusalOf(error: HttpErrorMessage): RequestRefused {
  const { code, message, retry, missing, tries_left, retry_after_s } = error;
  return new RequestRefused(code, message, retry, missing ?? [], tries_left, retry_after_s);
}
