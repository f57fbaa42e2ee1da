/**
 * The driver's token: a fixed one, or a provider that is asked for another when one expires. Pure.
 *
 * Calls of the provider are at least a second apart. If a call fails or returns the same token, the
 * gap doubles, up to 30 s.
 */

import type { Outbox } from "../actions.js";
import type { Clock } from "../clock.js";
import type { Timers } from "../timers.js";

type Got = (token: string) => void;
type Failed = (reason: string) => void;
/** Send the token to the engine, and call `done`: with the reason if it was refused. */
type Announce = (token: string, done: (refused?: string) => void) => void;

const FIRST_GAP_MS = 1_000;
const LONGEST_GAP_MS = 30_000;
const PROVIDED_WITHIN_MS = 30_000;
// A token that expires again this soon after its renewal is short-lived: the client fetches the next
// one after half of its lifetime.
const SHORT_LIFE_MS = 60_000;

export class Tokens {
  readonly renewable: boolean;
  private known?: string;
  private expired?: string;
  private askedUpMs?: number;
  private gapMs = FIRST_GAP_MS;
  private asks = 0;
  private pending?: { got: Got; failed: Failed; other: boolean };
  private renewal?: { dueUpMs: number; announce: Announce };
  private renewedUpMs?: number;

  constructor(
    fixed: string | undefined,
    private readonly clock: Clock,
    private readonly timers: Timers,
    private readonly out: Outbox,
  ) {
    this.renewable = fixed === undefined;
    this.known = fixed;
  }

  /** Pass on the token in use; the provider is asked only when there is none. */
  current(got: Got, failed: Failed): void {
    if (this.known !== undefined) got(this.known);
    else this.ask(got, failed, false);
  }

  /** The shell's provider gave a token. */
  given(ask: number, token: unknown): void {
    const pending = this.answered(ask);
    if (pending === undefined) return;
    const why = this.uselessness(token, pending.other);
    if (why === undefined) pending.got(token as string);
    else pending.failed(why);
  }

  /** The shell's provider failed. */
  failed(ask: number, reason: string): void {
    this.answered(ask)?.failed(reason);
  }

  /** Mark a token as expired: if it is the one in use, the provider is asked for another. */
  hasExpired(token: string): void {
    this.expired = token;
    if (this.known === token && this.renewable) this.known = undefined;
  }

  /**
   * Get another token before `dueUpMs`, and announce it; repeated requests of the server start no
   * second renewal. If that fails in time, the server closes with 4005 and the client reconnects.
   */
  renew(dueUpMs: number, announce: Announce): void {
    if (!this.renewable) {
      this.out.emit({ type: "token_trouble", reason: "the token expires and is the only one" });
      return;
    }
    if (this.renewal !== undefined) return;
    this.renewal = { dueUpMs, announce };
    const { upMs } = this.clock;
    if (this.renewedUpMs !== undefined && upMs - this.renewedUpMs < SHORT_LIFE_MS) this.renewLater();
    else this.renewNow();
  }

  /** The connection that asked for a renewal has ended. */
  stopRenewing(): void {
    if (this.renewal === undefined) return;
    this.renewal = undefined;
    this.timers.clear("renew");
    this.forget();
  }

  /** Ignore the answer of the provider that is waited for. */
  forget(): void {
    this.pending = undefined;
    this.timers.clear("token");
  }

  private ask(got: Got, failed: Failed, other: boolean): void {
    this.pending = { got, failed, other };
    const { upMs } = this.clock;
    const atMs = this.askedUpMs === undefined ? upMs : this.askedUpMs + this.gapMs;
    if (atMs <= upMs) this.askNow();
    else this.timers.set("token", atMs, () => this.askNow());
  }

  private askNow(): void {
    const { upMs } = this.clock;
    this.askedUpMs = upMs;
    this.gapMs = Math.min(this.gapMs * 2, LONGEST_GAP_MS);
    this.asks += 1;
    const ask = this.asks;
    this.out.push({ do: "token", ask });
    this.timers.set("token", upMs + PROVIDED_WITHIN_MS, () => {
      this.failed(ask, "the token provider gave no token in time");
    });
  }

  private answered(ask: number): typeof this.pending {
    if (ask !== this.asks || this.pending === undefined) return undefined;
    const { pending } = this;
    this.forget();
    return pending;
  }

  private uselessness(token: unknown, other: boolean): string | undefined {
    if (typeof token !== "string" || !token) return "the token provider gave no token";
    if (token === this.expired) return "the token provider gave the expired token again";
    const same = token === this.known;
    if (!same) this.gapMs = FIRST_GAP_MS;
    this.known = token;
    return same && other ? "the token provider gave the expiring token again" : undefined;
  }

  private renewNow(): void {
    this.ask(
      (token) => this.renewal?.announce(token, (refused) => this.renewed(refused)),
      (reason) => this.renewed(`the token was not renewed: ${reason}`),
      true,
    );
  }

  private renewed(trouble?: string): void {
    if (trouble === undefined) {
      this.renewal = undefined;
      this.renewedUpMs = this.clock.upMs;
      return;
    }
    this.out.emit({ type: "token_trouble", reason: trouble });
    this.renewLater();
  }

  private renewLater(): void {
    if (this.renewal === undefined) return;
    const { upMs } = this.clock;
    const leftMs = this.renewal.dueUpMs - upMs;
    if (leftMs <= 0) this.renewal = undefined;
    else this.timers.set("renew", upMs + Math.max(1_000, leftMs / 2), () => this.renewNow());
  }
}
