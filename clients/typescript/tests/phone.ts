/** A phone with a core, whose time the test moves. */

import { JSON_CODEC } from "../src/codec.js";
import type { ClientMessage, ServerMessage } from "../src/contract.js";
import type { Action } from "../src/driver/actions.js";
import { DriverCore, type CoreOptions } from "../src/driver/core.js";
import { LIVENESS } from "../src/driver/connection/link.js";
import { BACKOFF } from "../src/driver/connection/reconnect.js";

export const SERVER_MS = 1_700_000_900_000;
export const WELCOME = {
  type: "welcome",
  session: "s1",
  driver: "d1",
  market: "phoenix",
  seq: 0,
  server_time_ms: SERVER_MS,
  ping_ms: 25_000,
  location_ms: 4_000,
  max_bytes: 16_384,
  token_expires_ms: 4_000_000_000_000,
  state: "available",
  offer: null,
  jobs: [],
} as ServerMessage;

/** A core with a clock that the test moves; the phone's is 15 minutes behind the server's. */
export class Phone {
  nowMs = 1_000;
  wallMs = 1_700_000_000_000;
  core: DriverCore;
  actions: Action[] = [];

  constructor(options: Partial<CoreOptions> = {}) {
    this.core = new DriverCore(
      {
        urls: ["ws://engine"],
        token: "token",
        subprotocol: "mallard.v1.json",
        autoAcknowledge: true,
        fixLimit: 10,
        requestTimeoutS: 10,
        backoff: BACKOFF,
        liveness: LIVENESS,
        httpAfterS: null,
        random: () => 1,
        ...options,
      },
      this.now,
    );
  }

  get now() {
    return { wallMs: this.wallMs, upMs: this.nowMs };
  }

  did(actions: Action[]): Action[] {
    this.actions.push(...actions);
    return actions;
  }

  /** Take fixes, one in 10 ms; nothing falls due meanwhile. */
  takeFixes(count: number): void {
    for (let taken = 0; taken < count; taken += 1) {
      this.nowMs += 10;
      this.core.location(this.now, { lat: 33, lon: -111 });
    }
  }

  /** Pass time, and do what falls due meanwhile. */
  pass(ms: number): Action[] {
    const end = this.nowMs + ms;
    const done: Action[] = [];
    for (let due = this.core.wakeUpMs; due !== undefined && due <= end; due = this.core.wakeUpMs) {
      this.wallMs += Math.max(0, due - this.nowMs);
      this.nowMs = Math.max(this.nowMs, due);
      done.push(...this.did(this.core.tick(this.now)));
    }
    this.wallMs += end - this.nowMs;
    this.nowMs = end;
    return done;
  }

  /** Pass time on a socket whose pings are answered. */
  passAlive(ms: number, link = 1): Action[] {
    const done: Action[] = [];
    for (let left = ms; left > 0; left -= 5_000) {
      done.push(...this.pass(Math.min(left, 5_000)));
      this.did(this.core.ponged(this.now, link));
    }
    return done;
  }

  start(document?: string): Action[] {
    return this.did([...this.core.recall(this.now, document), ...this.core.start(this.now)]);
  }

  hears(message: object, link = 1): Action[] {
    return this.did(this.core.received(this.now, link, JSON_CODEC.encode(message as ServerMessage)));
  }

  online(welcome: object = {}, link = 1): Action[] {
    this.did(this.core.opened(this.now, link, true));
    return this.hears({ ...WELCOME, ...welcome }, link);
  }
}

export function sent(actions: Action[]): ClientMessage[] {
  return actions.flatMap((action) =>
    action.do === "send" ? [JSON.parse(action.frame as string) as ClientMessage] : [],
  );
}

export function only<T extends Action["do"]>(actions: Action[], kind: T): Array<Action & { do: T }> {
  return actions.filter((action): action is Action & { do: T } => action.do === kind);
}

export function events(actions: Action[]): string[] {
  return only(actions, "emit").map(({ event }) => event.type);
}
