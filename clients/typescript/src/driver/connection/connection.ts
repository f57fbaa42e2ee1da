/** Keeps a driver connected: connects, says hello, checks, reconnects as advised. Pure. */

import type { Random } from "../../backoff.js";
import { codecOf, type Frame, UndecodableFrame } from "../../codec.js";
import type { ClientMessage, HelloMessage, ServerMessage, WelcomeMessage } from "../../contract.js";
import { SUBPROTOCOL_JSON } from "../../contract.js";
import { Aborted, NoAnswer, Stopped } from "../../errors.js";
import type { Outbox } from "../actions.js";
import type { Clock } from "../clock.js";
import type { Transport } from "../events.js";
import type { LocalFix } from "../reporting/fixes.js";
import { Link, type Liveness, type Request } from "./link.js";
import { type Backoff, type Ending, LOST, ReconnectPolicy } from "./reconnect.js";
import type { Timers } from "../timers.js";
import { Tokens } from "./tokens.js";

/** What a connection needs of its session. */
export interface ConnectionListener {
  /** Whether an offer waits for its answer. */
  readonly offered: boolean;
  hello(token: string): HelloMessage;
  /** Apply a welcome, and send what must precede everything else. */
  welcomed(welcome: WelcomeMessage): void;
  /** The connection is open: requests may follow. */
  connected(): void;
  received(message: ServerMessage): void;
  applyState(reply: { state: string }): void;
  /** Send the fixes that wait; return whether none is left. `fixesSent` is called after the last. */
  flush(): boolean;
}

export interface ConnectionOptions {
  urls: readonly string[];
  /** The driver's token; missing: the shell has a provider. */
  token?: string;
  subprotocol: string;
  backoff: Backoff;
  liveness: Liveness;
  /** After so long without a socket the client goes over HTTP; null: only while suspended. */
  httpAfterS: number | null;
  random: Random;
}

// For the handshake, and again for the welcome. Together with the longest wait between two tries
// this keeps a reconnect without a hint within the 30 s for which an offer is open.
const WELCOME_WITHIN_MS = 8_000;
// The server pings every `ping_ms`; twice that without a frame means that it is gone.
const SILENT_AFTER_PINGS = 2;
// Several hints of the app within this time count as one.
const HINT_EVERY_MS = 1_000;
// How long the client uses HTTP before it tries a socket again.
const HTTP_FOR_MS = 30_000;

export class Connection {
  /** Why the client is not running; undefined while it runs. */
  stopped: Stopped | undefined = new Stopped("the client was not started", undefined, true);
  readonly tokens: Tokens;
  private readonly policy: ReconnectPolicy;
  private link?: Link;
  private live = false;
  private links = 0;
  private tries = 0;
  private triesSinceWelcome = 0;
  private requests: Request[] = [];
  private hintedUpMs?: number;
  private awayS?: number;
  private suspended = false;
  private socketLostUpMs = 0;
  private checking = false;
  /** Whether the server asked for the present wait, so that no hint shortens it. */
  private firm = false;

  constructor(
    private readonly options: ConnectionOptions,
    private readonly clock: Clock,
    private readonly timers: Timers,
    private readonly out: Outbox,
    private readonly listener: ConnectionListener,
  ) {
    this.tokens = new Tokens(options.token, clock, timers, out);
    this.policy = new ReconnectPolicy(options.random, options.backoff, this.tokens.renewable);
  }

  /** Whether a connection is open and welcomed. */
  get connected(): boolean {
    return this.live;
  }

  /** What the open connection runs over. */
  get over(): Transport | undefined {
    return this.live ? this.link?.over : undefined;
  }

  /** The address of the open connection, or of the last one. */
  get url(): string {
    const { urls } = this.options;
    return urls[Math.max(0, this.tries - 1) % urls.length] ?? "";
  }

  /** Seconds until the next try to connect; undefined while connected, connecting or stopped. */
  get reconnectingInS(): number | undefined {
    const atMs = this.timers.at("retry");
    return atMs === undefined ? undefined : Math.max(0, atMs - this.clock.upMs) / 1000;
  }

  start(): void {
    if (this.stopped === undefined) return;
    this.stopped = undefined;
    this.socketLostUpMs = this.clock.upMs;
    this.tryOnce();
  }

  stop(why: Stopped): void {
    if (this.stopped !== undefined) return;
    this.stopped = why;
    this.drop();
    this.timers.clear("retry", "timeouts");
    this.tokens.forget();
    for (const request of this.requests.splice(0)) {
      request.over = true;
      request.onFailure(why);
    }
  }

  /** The shell has opened the connection. */
  opened(number: number, canPing: boolean): void {
    const link = this.current(number);
    if (link === undefined) return;
    link.canPing = canPing;
    link.askedUpMs = this.clock.upMs;
    this.send(this.listener.hello(link.token));
    this.timers.set("welcome", this.clock.upMs + WELCOME_WITHIN_MS, () => {
      this.ended({ reason: "no welcome in time", code: LOST });
    });
  }

  received(number: number, frame: Frame): void {
    const link = this.current(number);
    if (link === undefined) return;
    this.heard(link);
    let message: ServerMessage | undefined;
    try {
      message = link.decode(frame);
    } catch (error) {
      if (!(error instanceof UndecodableFrame)) throw error;
      this.ended({ reason: `the server sent bytes that are no message: ${error.message}`, code: LOST });
      return;
    }
    if (message !== undefined) this.take(message, link);
  }

  ponged(number: number): void {
    const link = this.current(number);
    if (link !== undefined) this.heard(link);
  }

  /** The connection ended, or could not be opened. */
  closed(number: number, ending: Ending): void {
    if (this.current(number) !== undefined) this.ended(ending);
  }

  /** Connect now, without waiting any longer; an open connection is checked. */
  networkIsBack(): void {
    this.policy.startOver();
    if (this.live) {
      if (this.link?.over === "http") this.trySocketAgain();
      else this.check();
      return;
    }
    const { upMs } = this.clock;
    if (this.hintedUpMs !== undefined && upMs - this.hintedUpMs < HINT_EVERY_MS) return;
    this.hintedUpMs = upMs;
    if (this.timers.has("retry")) {
      if (!this.firm) this.timers.set("retry", upMs, () => this.tryOnce());
    } else if (this.link !== undefined && this.link.askedUpMs === undefined) {
      this.ended({ reason: "the app reported that the network is back", hinted: true });
    }
  }

  /** Cut the connection as a device that loses its network does; reconnect in `awayS`. */
  cut(awayS?: number): void {
    if (!this.live) return;
    this.awayS = awayS;
    this.ended({ reason: "cut by the app", code: LOST });
  }

  /** Use HTTP instead of a socket while the platform suspends sockets, until `suspend(false)`. */
  suspend(suspended: boolean): void {
    if (this.suspended === suspended) return;
    this.suspended = suspended;
    if (this.stopped !== undefined) return;
    this.policy.startOver();
    this.drop();
    this.timers.clear("retry");
    this.tryOnce();
  }

  /** Send a message without an answer; it is lost without a connection. */
  send(message: ClientMessage, fixes?: readonly LocalFix[]): void {
    if (this.link === undefined) return;
    this.out.push({ do: "send", link: this.link.number, frame: this.link.encode(message), fixes });
  }

  /** Send a request, again on the next connection if one ends, until it is answered. */
  request(request: Request): void {
    if (this.stopped !== undefined) {
      request.over = true;
      request.onFailure(this.stopped);
      return;
    }
    this.requests.push(request);
    if (this.live) this.ask(request);
    this.watchTimeouts();
  }

  /** Give a request up; its answer still counts. */
  abandon(request: Request, why: Error = new Aborted("given up by the app")): void {
    if (request.over) return;
    request.over = true;
    this.requests = this.requests.filter((each) => each !== request);
    request.onFailure(why);
  }

  /** All fixes are sent: send the requests that waited for them. */
  fixesSent(): void {
    for (const request of this.requests.filter(({ waits }) => waits)) {
      request.waits = false;
      this.sendRequest(request);
    }
  }

  // Connecting

  private tryOnce(): void {
    this.timers.clear("retry");
    this.tries += 1;
    this.triesSinceWelcome += 1;
    const over = this.transport();
    const { url } = this;
    this.out.emit({ type: "connecting", url, attempt: this.triesSinceWelcome });
    this.tokens.current(
      (token) => this.connect(over, url, token),
      (reason) => {
        this.out.emit({ type: "token_trouble", reason });
        this.ended({ reason });
      },
    );
  }

  private transport(): Transport {
    if (this.suspended) return "http";
    const { httpAfterS } = this.options;
    const withoutMs = this.clock.upMs - this.socketLostUpMs;
    // Every second try is a socket, so that the client leaves HTTP as soon as it can.
    const due = httpAfterS !== null && withoutMs >= httpAfterS * 1000;
    return due && this.triesSinceWelcome % 2 === 0 ? "http" : "socket";
  }

  /** Leave HTTP as soon as a socket can be had. */
  private trySocketAgain(): void {
    if (this.suspended) return;
    this.drop();
    const reason = "a socket is tried again";
    this.out.emit({ type: "disconnected", reason, reconnectingInS: 0 });
    this.tryOnce();
  }

  private connect(over: Transport, url: string, token: string): void {
    this.links += 1;
    // The HTTP transport reads the frames: they are JSON.
    const subprotocol = over === "http" ? SUBPROTOCOL_JSON : this.options.subprotocol;
    const link = new Link(this.links, over, url, codecOf(subprotocol), token);
    this.link = link;
    this.out.push({ do: "connect", link: link.number, over, url, subprotocol, token });
    this.timers.set("welcome", this.clock.upMs + WELCOME_WITHIN_MS, () => {
      this.ended({ reason: "no connection in time" });
    });
  }

  private current(number: number): Link | undefined {
    return this.link?.number === number ? this.link : undefined;
  }

  /** Give up the connection; requests that were not answered wait for the next one. */
  private drop(abort = false): void {
    if (this.link !== undefined) this.out.push({ do: "close", link: this.link.number, abort });
    if (this.live && this.link?.over === "socket") this.socketLostUpMs = this.clock.upMs;
    this.link = undefined;
    this.live = false;
    this.checking = false;
    this.tokens.stopRenewing();
    this.requests = this.requests.filter((each) => !each.ofLink);
    for (const request of this.requests) request.waits = false;
    this.timers.clear("welcome", "silent", "idle", "pong", "answer", "http");
  }

  private ended(ending: Ending): void {
    const link = this.link;
    const { upMs } = this.clock;
    const welcomedUpMs = link?.welcomedUpMs;
    this.drop(ending.code === undefined || ending.code === LOST);
    if (this.stopped !== undefined) return;
    const lastedMs = welcomedUpMs === undefined ? 0 : upMs - welcomedUpMs;
    const retry = this.policy.after({ ...ending, lastedMs }, upMs, this.listener.offered);
    if (retry instanceof Stopped) {
      this.stop(retry);
      return;
    }
    if (retry.freshToken && link !== undefined) this.tokens.hasExpired(link.token);
    const waitS = this.awayS ?? retry.waitS;
    this.firm = this.awayS !== undefined || retry.firm === true;
    this.awayS = undefined;
    this.timers.set("retry", upMs + waitS * 1000, () => this.tryOnce());
    const { reason, code, httpStatus } = ending;
    this.out.emit({ type: "disconnected", reason, reconnectingInS: waitS, code, httpStatus });
  }

  // An open connection

  private take(message: ServerMessage, link: Link): void {
    if (message.type === "welcome") {
      this.welcomed(message, link);
      return;
    }
    if ((message.type === "reply" || message.type === "error") && message.id !== null) {
      const request = link.settle(message);
      this.requests = this.requests.filter((each) => each !== request);
    } else if (message.type === "ping") {
      this.send({ type: "pong" });
    } else if (message.type === "auth_expiring") {
      this.renewBefore(message.at_ms);
    } else if (message.type === "drain") {
      this.policy.drained(message.reconnect_after_ms, this.clock.upMs);
    }
    this.listener.received(message);
  }

  private welcomed(welcome: WelcomeMessage, link: Link): void {
    const first = link.welcomedUpMs === undefined;
    this.clock.welcomed(welcome.server_time_ms, first ? link.askedUpMs : undefined);
    link.pingMs = welcome.ping_ms;
    if (!first) {
      const again = link.unanswered();
      // The store has lost writes. The held jobs are sent before the welcome overwrites them.
      if (welcome.say_hello === true) this.send(this.listener.hello(link.token));
      this.listener.welcomed(welcome);
      for (const frame of again()) this.out.push({ do: "send", link: link.number, frame });
      this.heard(link);
      return;
    }
    link.welcomedUpMs = this.clock.upMs;
    this.timers.clear("welcome");
    this.triesSinceWelcome = 0;
    this.listener.welcomed(welcome);
    this.live = true;
    if (link.over === "http") {
      this.timers.set("http", this.clock.upMs + HTTP_FOR_MS, () => this.trySocketAgain());
    }
    this.heard(link);
    const { url, over } = link;
    this.out.emit({ type: "connected", url, session: welcome.session, over });
    for (const request of this.requests) this.ask(request);
    this.listener.connected();
  }

  /** A frame came: the server is there. */
  private heard(link: Link): void {
    const { upMs } = this.clock;
    this.checking = false;
    this.timers.clear("pong");
    if (link.welcomedUpMs === undefined) return;
    this.timers.set("silent", upMs + SILENT_AFTER_PINGS * link.pingMs, () => {
      this.ended({ reason: "the server fell silent", code: LOST });
    });
    this.timers.set("idle", upMs + this.options.liveness.idleS * 1000, () => this.check());
  }

  private ask(request: Request): void {
    if (this.link === undefined || request.over) return;
    if (request.afterFixes) {
      request.waits = !this.listener.flush();
      if (request.waits) return;
      this.fixesSent();
    }
    this.sendRequest(request);
  }

  private sendRequest(request: Request): void {
    const { link } = this;
    if (link === undefined) return;
    this.out.push({ do: "send", link: link.number, frame: link.ask(request) });
    if (!this.timers.has("answer")) this.watchAnswers();
  }

  private watchAnswers(): void {
    const atMs = this.clock.upMs + this.options.liveness.answerS * 1000;
    this.timers.set("answer", atMs, () => {
      if (!this.link?.hasUnanswered) return;
      this.check();
      this.watchAnswers();
    });
  }

  /** Check that the server responds; if it does not, the connection is half-open. */
  private check(): void {
    const { link } = this;
    if (link === undefined || this.checking || link.over === "http") return;
    this.checking = true;
    if (link.canPing) this.out.push({ do: "ping", link: link.number });
    else this.out.push({ do: "send", link: link.number, frame: link.probe() });
    this.timers.set("pong", this.clock.upMs + this.options.liveness.pongS * 1000, () => {
      this.ended({ reason: "no answer on the socket: it is half-open", code: LOST });
    });
  }

  private watchTimeouts(): void {
    const next = Math.min(...this.requests.map(({ deadlineMs }) => deadlineMs));
    if (next === Infinity) return;
    this.timers.set("timeouts", next, () => {
      const { upMs } = this.clock;
      for (const request of this.requests.filter(({ deadlineMs }) => deadlineMs <= upMs)) {
        this.abandon(request, new NoAnswer("no answer in time"));
      }
      this.watchTimeouts();
    });
  }

  // The token

  private renewBefore(atMs: number): void {
    const dueUpMs = atMs - this.clock.offsetMs;
    this.tokens.renew(dueUpMs, (token, done) => {
      const { link } = this;
      if (link === undefined) return;
      this.request({
        make: (id) => ({ type: "auth", id, token }),
        onReply: (reply) => {
          link.token = token;
          this.listener.applyState(reply);
          done(undefined);
        },
        onRefusal: (refusal) => done(`the token was not renewed: ${refusal.message}`),
        onFailure: () => undefined,
        // It is not repeated on another connection, which begins with the token.
        deadlineMs: Infinity,
        ofLink: true,
        afterFixes: false,
        over: false,
      });
    });
  }
}
