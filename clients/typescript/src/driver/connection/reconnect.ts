/** Decides what follows the end of a driver's socket: a retry after a wait, or a stop. Pure. */

import { FullJitter, type Random } from "../../backoff.js";
import { CLOSE_CODES } from "../../contract.js";
import { Stopped } from "../../errors.js";

/**
 * How a client waits between connections, in seconds.
 *
 * After a close code: full jitter from `firstS` up to `maxS`. When no engine answered at all, up to
 * `unreachableMaxS` only: an offer is open for 30 s, and the network may be back at any moment. After
 * a refused handshake (403, 404 …), which browsers do not distinguish from a lost network, from
 * `refusedFirstS` up to `refusedMaxS`. While an offer is on the screen no wait is longer than
 * `offeredMaxS`.
 */
export interface Backoff {
  firstS: number;
  maxS: number;
  unreachableMaxS: number;
  refusedFirstS: number;
  refusedMaxS: number;
  offeredMaxS: number;
}

export const BACKOFF: Backoff = {
  firstS: 0.5,
  maxS: 30,
  unreachableMaxS: 10,
  refusedFirstS: 4,
  refusedMaxS: 60,
  offeredMaxS: 2,
};

/** The code of a socket that ended without one (RFC 6455 7.1.5). */
export const LOST = 1006;
/** A session that lasted this long shows that the network works: the backoff starts over. */
const STABLE_AFTER_MS = 5_000;
const TOKEN_EXPIRED = 4005;
const RATE = 4004;
// In the contract every close code from here on means that a retry cannot help.
const FIRST_STOP_CODE = 4500;
const LAST_STOP_CODE = 4999;
// Refused handshakes of an overloaded or restarting engine.
const BUSY_STATUSES = [408, 425, 429];

/**
 * How an attempt to connect ended. `code`: the close code (1006 for a lost link, none when no socket
 * was opened); `httpStatus`: that of a refused handshake, where the platform reports it, with its
 * `retryAfterS`; `lastedMs`: the time since `welcome` (0 without one); `hinted`: the app reported
 * that the network is back, so this try was abandoned.
 */
export interface Ending {
  reason: string;
  code?: number;
  httpStatus?: number;
  retryAfterS?: number;
  lastedMs?: number;
  hinted?: boolean;
}

/** Try again after `waitS`. `firm`: the server asked for this wait, and no hint shortens it. */
export interface Retry {
  waitS: number;
  freshToken?: boolean;
  firm?: boolean;
}

/** Whether a socket that was closed with this code should be opened again. */
export function mayReconnect(code: number): boolean {
  return CLOSE_CODES[code]?.retry ?? !(FIRST_STOP_CODE <= code && code <= LAST_STOP_CODE);
}

/**
 * Full jitter by the close code's advice; the time that a `drain` names takes precedence. Only a
 * close code can be final: during a deploy an ingress answers 404, a captive portal 302 or 200.
 */
export class ReconnectPolicy {
  private readonly jitter: FullJitter;
  private readonly refused: FullJitter;
  private notBeforeMs?: number;

  constructor(
    random: Random,
    private readonly backoff: Backoff,
    private readonly tokenRenewable: boolean,
  ) {
    this.jitter = new FullJitter(random, backoff.firstS, backoff.maxS);
    this.refused = new FullJitter(random, backoff.refusedFirstS, backoff.refusedMaxS);
  }

  /** The node leaves and has named a time to reconnect. */
  drained(reconnectAfterMs: number, nowMs: number): void {
    this.notBeforeMs = nowMs + reconnectAfterMs;
  }

  /** The network is back: start the backoff over. */
  startOver(): void {
    this.jitter.reset();
    this.refused.reset();
  }

  /** Decide; `offered`: an offer waits for its answer. Returns `Stopped` when a retry cannot help. */
  after(ending: Ending, nowMs: number, offered: boolean): Retry | Stopped {
    const { code } = ending;
    if ((ending.lastedMs ?? 0) >= STABLE_AFTER_MS) this.startOver();
    if (code !== undefined && !mayReconnect(code)) return Stopped.closed(code, ending.reason);
    const freshToken = code === TOKEN_EXPIRED;
    if (freshToken && !this.tokenRenewable) {
      return Stopped.closed(code, "the token expired and is the only one");
    }
    const notBeforeMs = this.notBeforeMs;
    this.notBeforeMs = undefined;
    if (notBeforeMs !== undefined) {
      // Already spread by the server, a different moment for each driver.
      return { waitS: Math.max(0, notBeforeMs - nowMs) / 1000, freshToken, firm: true };
    }
    if (ending.hinted) return { waitS: 0 };
    const firm = code === RATE || ending.retryAfterS !== undefined;
    return { waitS: this.waitS(ending, offered), freshToken, firm };
  }

  private waitS(ending: Ending, offered: boolean): number {
    const { backoff } = this;
    const status = ending.httpStatus;
    if (status !== undefined && status >= 400 && status < 500 && !BUSY_STATUSES.includes(status)) {
      return this.refused.nextS(0.5);
    }
    const answered =
      (ending.code !== undefined && ending.code !== LOST) || (status !== undefined && status >= 400);
    let longestS = answered ? backoff.maxS : backoff.unreachableMaxS;
    if (offered) longestS = Math.min(longestS, backoff.offeredMaxS);
    const waitS = this.jitter.nextS(0, longestS);
    // A misconfigured proxy must not send a driver away for a day.
    return waitS + Math.min(ending.retryAfterS ?? 0, backoff.refusedMaxS);
  }
}
