/**
 * Replaces a socket by HTTP: accepts a client's frames (JSON) and returns the frames that a socket
 * would have delivered, so that the session sees no difference.
 *
 * Requests are sent one after the other. The state is polled every few seconds and passed on as a
 * `welcome` when it has changed.
 */

import type { ClientMessage, DriverReply, DriverTruth, Problem } from "../../contract.js";
import { RETRY_CODES } from "../../contract.js";
import { fetchWithin, isProblem } from "../../http/request.js";
import type { Connect, ConnectionEvents, OpenConnection } from "./transport.js";
import { httpUrl } from "./transport.js";

const POLL_MS = 8_000;
const ANSWER_WITHIN_MS = 10_000;
const TOKEN_EXPIRED = 4005;
const WRONG_SCOPE = 4503;

export function overHttp(fetcher: typeof fetch): Connect {
  return (url, _subprotocol, token, events) =>
    new HttpConnection(fetcher, `${httpUrl(url)}/v1/driver`, token, events);
}

class HttpConnection implements OpenConnection {
  private queue: Promise<void>;
  private waiting = 0;
  private isOver = false;
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

  send(frame: string | Uint8Array): boolean {
    if (this.isOver) return false;
    this.waiting += 1;
    this.queue = this.queue.then(async () => {
      if (!this.isOver) await this.take(JSON.parse(String(frame)) as ClientMessage);
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

  private async take(message: ClientMessage): Promise<void> {
    switch (message.type) {
      case "hello":
        await this.look();
        break;
      case "location":
        await this.call("/locations", { fixes: message.fixes });
        break;
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
    const truth = (await this.call("/state")) as DriverTruth | undefined;
    if (truth === undefined || this.isOver) return;
    const shown = JSON.stringify({ ...truth, server_time_ms: 0 });
    this.state = truth.state;
    if (shown !== this.shown) this.tell({ ...truth, type: "welcome", session: "http" });
    else this.tell({ type: "ping" });
    this.shown = shown;
    this.poll = setTimeout(() => {
      if (this.waiting) this.lookLater();
      else this.queue = this.queue.then(() => this.look());
    }, POLL_MS);
  }

  private lookLater(): void {
    this.poll = setTimeout(() => void (this.queue = this.queue.then(() => this.look())), 0);
  }

  private async request(id: number, path: string, body: object): Promise<void> {
    const answer = await this.call(path, body);
    if (answer === undefined || this.isOver) return;
    if (!isProblem(answer)) {
      this.state = (answer as DriverReply).state;
      this.shown = "";
      this.tell({ ...(answer as DriverReply), type: "reply", id });
      return;
    }
    const { code, detail, missing, tries_left } = answer as Problem;
    const retry = RETRY_CODES.includes(code);
    this.tell({ type: "error", id, code, message: detail, retry, missing, tries_left });
  }

  /** Call the engine; undefined when the connection has ended with it. */
  private async call(path: string, body?: object): Promise<unknown> {
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
    if (answer.ok) return content;
    const { status } = answer;
    if (!isProblem(content)) {
      this.end({ reason: `something else answered with ${status}`, httpStatus: status });
    } else if (status === 401) {
      this.end({ reason: content.detail, code: TOKEN_EXPIRED });
    } else if (status === 403) {
      this.end({ reason: content.detail, code: WRONG_SCOPE });
    } else {
      return content;
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
