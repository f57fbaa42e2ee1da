/**
 * Replaces a socket by HTTP: accepts a client's frames (JSON) and returns the frames that a socket
 * would have delivered, so that the session sees no difference.
 *
 * Requests are sent one after the other. The state is polled every few seconds and passed on as a
 * `welcome` when it has changed. Fixes that the engine has not taken are given back.
 */

import type {
  ClientMessage,
  DriverReply,
  DriverTruth,
  ErrorMessage,
  Problem,
} from "../../contract.js";
import { RETRY_CODES } from "../../contract.js";
import { fetchWithin, isProblem, retryAfterS } from "../../http/request.js";
import type { Connect, ConnectionEvents, GiveBack, OpenConnection } from "./transport.js";
import { httpUrl } from "./transport.js";

const POLL_MS = 8_000;
// Less than two ping intervals, after which a session without a frame takes the engine for gone.
const LONGEST_POLL_MS = 40_000;
const ANSWER_WITHIN_MS = 10_000;
const TOKEN_EXPIRED = 4005;
const WRONG_SCOPE = 4503;
// Refusals after which the same request may work later, whatever their code.
const LATER = [429, 503];

/** What the engine has answered; a refusal has a `Problem` as its content. */
interface Answer {
  content: unknown;
  refusal?: Refusal;
}

interface Refusal {
  problem: Problem;
  retry: boolean;
  retryAfterS?: number;
}

/** An `error` that stands for a refusal over HTTP. */
export interface HttpErrorMessage extends ErrorMessage {
  retry_after_s?: number;
}

export function overHttp(fetcher: typeof fetch): Connect {
  return (url, _subprotocol, token, events) =>
    new HttpConnection(fetcher, `${httpUrl(url)}/v1/driver`, token, events);
}

class HttpConnection implements OpenConnection {
  private queue: Promise<void>;
  private waiting = 0;
  /** How many frames were sent, and up to which one fixes are not passed on. */
  private sent = 0;
  private refusedTo = 0;
  private isOver = false;
  private isWelcomed = false;
  private shown = "";
  private state = "offline";
  private poll?: ReturnType<typeof setTimeout>;

  constructor(
    private readonly fetcher: typeof fetch,
    private readonly base: string,
    private token: string,
    private readonly events: ConnectionEvents,
  ) {
    this.queue = Promise.resolve().then(() => events.opened(false));
  }

  send(frame: string | Uint8Array, giveBack: GiveBack = () => undefined): boolean {
    if (this.isOver) return false;
    this.waiting += 1;
    const number = (this.sent += 1);
    this.queue = this.queue.then(async () => {
      const message = JSON.parse(String(frame)) as ClientMessage;
      // The engine has refused fixes since it was sent: it would refuse these as well.
      if (message.type === "location" && number <= this.refusedTo) giveBack();
      else await this.take(message, giveBack);
      this.waiting -= 1;
    });
    return true;
  }

  ping(): void {
    // A call that is not answered ends the connection.
  }

  close(): void {
    this.isOver = true;
    clearTimeout(this.poll);
  }

  private async take(message: ClientMessage, giveBack: GiveBack): Promise<void> {
    switch (message.type) {
      case "hello":
        await this.look();
        break;
      case "location": {
        const answer = await this.call("/locations", { fixes: message.fixes });
        if (answer !== undefined && !answer.refusal?.retry) break;
        this.refusedTo = this.sent;
        giveBack(answer?.refusal?.retryAfterS);
        break;
      }
      case "auth":
        this.token = message.token;
        this.tell({ type: "reply", id: message.id, state: this.state });
        break;
      case "status":
      case "problem": {
        const { type, id, ...body } = message;
        await this.request(id, type === "status" ? "/status" : "/problems", body);
        break;
      }
      case "accept":
      case "decline": {
        const { type, id, offer, ...body } = message;
        await this.request(id, `/offers/${encodeURIComponent(offer)}/${type}`, body);
        break;
      }
      case "progress": {
        const { type: _type, id, job, ...body } = message;
        await this.request(id, `/jobs/${encodeURIComponent(job)}/progress`, body);
        break;
      }
      case "offer_ack":
      case "pong":
        break;
    }
  }

  /** Poll the driver's state, and pass it on if it has changed. */
  private async look(): Promise<void> {
    clearTimeout(this.poll);
    const answer = await this.call("/state");
    if (answer === undefined || this.isOver) return;
    const { content, refusal } = answer;
    if (refusal === undefined) {
      const truth = content as DriverTruth;
      const shown = JSON.stringify({ ...truth, server_time_ms: 0 });
      this.state = truth.state;
      if (shown !== this.shown) this.tell({ ...truth, type: "welcome", session: "http" });
      else this.tell({ type: "ping" });
      this.shown = shown;
      this.isWelcomed = true;
    } else if (this.isWelcomed) {
      this.tell({ type: "ping" });
    } else {
      const { problem, retryAfterS } = refusal;
      this.end({ reason: problem.detail, httpStatus: problem.status, retryAfterS });
      return;
    }
    const wishMs = (refusal?.retryAfterS ?? 0) * 1000;
    const waitMs = Math.min(Math.max(POLL_MS, wishMs), LONGEST_POLL_MS);
    this.poll = setTimeout(() => {
      if (this.waiting) this.lookLater();
      else this.queue = this.queue.then(() => this.look());
    }, waitMs);
  }

  private lookLater(): void {
    this.poll = setTimeout(() => void (this.queue = this.queue.then(() => this.look())), 0);
  }

  private async request(id: number, path: string, body: object): Promise<void> {
    const answer = await this.call(path, body);
    if (answer === undefined || this.isOver) return;
    if (answer.refusal === undefined) {
      const reply = answer.content as DriverReply;
      this.state = reply.state;
      this.shown = "";
      this.tell({ ...reply, type: "reply", id });
      return;
    }
    const { problem, retry, retryAfterS: retry_after_s } = answer.refusal;
    const { code, detail: message, missing, tries_left } = problem;
    const given = { id, code, message, retry, missing, tries_left, retry_after_s };
    this.tell({ type: "error", ...given } satisfies HttpErrorMessage);
  }

  /** Call the engine; undefined when the connection has ended with it. */
  private async call(path: string, body?: object): Promise<Answer | undefined> {
    if (this.isOver) return undefined;
    let answer: Response;
    let content: unknown;
    try {
      answer = await fetchWithin(this.fetcher, ANSWER_WITHIN_MS, this.base + path, {
        method: body === undefined ? "GET" : "POST",
        redirect: "error",
        headers: {
          Authorization: `Bearer ${this.token}`,
          Accept: "application/json",
          ...(body && { "Content-Type": "application/json" }),
        },
        ...(body && { body: JSON.stringify(body) }),
      });
      content = await answer.json();
    } catch (error) {
      this.end({ reason: `no answer over HTTP: ${error}` });
      return undefined;
    }
    if (answer.ok) return { content };
    const { status, headers } = answer;
    const waitS = retryAfterS(headers.get("Retry-After"), headers.get("Date"));
    if (!isProblem(content)) {
      const reason = `something else answered with ${status}`;
      this.end({ reason, httpStatus: status, retryAfterS: waitS });
    } else if (status === 401) {
      this.end({ reason: content.detail, code: TOKEN_EXPIRED });
    } else if (status === 403) {
      this.end({ reason: content.detail, code: WRONG_SCOPE });
    } else if (status === 500) {
      // As a socket does that the engine fails on.
      this.end({ reason: content.detail, httpStatus: status, retryAfterS: waitS });
    } else {
      const retry = LATER.includes(status) || RETRY_CODES.includes(content.code);
      return { content, refusal: { problem: content, retry, retryAfterS: waitS } };
    }
    return undefined;
  }

  private tell(message: object): void {
    if (!this.isOver) this.events.received(JSON.stringify(message));
  }

  private end(ending: Parameters<ConnectionEvents["closed"]>[0]): void {
    if (this.isOver) return;
    this.close();
    this.events.closed(ending);
  }
}
