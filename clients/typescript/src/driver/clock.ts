/**
 * The server's time, independent of changes to the device's clock. Pure: the time is an argument.
 *
 * Users and networks set a device's wall clock, so nothing here relies on it beyond one call: a time
 * that the app names is turned into an age at once. Between messages, time is counted by the uptime,
 * which is monotonic.
 */

/** The device's wall clock (epoch ms), and a clock that only rises (ms from any origin). */
export interface Now {
  wallMs: number;
  upMs: number;
}

/** A point in time: by the server's clock, or by the device's uptime. */
export interface Moment {
  ms: number;
  byServer: boolean;
}

// A reading may be this far ahead of the device's clock, because a GPS receiver has its own clock.
const FUTURE_MS = 5_000;

/** The server's clock as the app knows it; before the first `welcome`, the device's wall clock. */
export class Clock {
  private learnt?: number;

  constructor(private now: Now) {}

  /** Set the time, which later calls refer to. */
  set(now: Now): void {
    this.now = now;
  }

  get upMs(): number {
    return this.now.upMs;
  }

  get wallMs(): number {
    return this.now.wallMs;
  }

  /** The server's clock minus the uptime. */
  get offsetMs(): number {
    return this.learnt ?? this.now.wallMs - this.now.upMs;
  }

  get serverNowMs(): number {
    return Math.round(this.now.upMs + this.offsetMs);
  }

  /**
   * Learn the offset from a `welcome`; `askedUpMs`: the uptime of its `hello`. Assumes, as NTP does,
   * that the server stamped it halfway between both.
   */
  welcomed(serverTimeMs: number, askedUpMs?: number): void {
    const { upMs } = this.now;
    this.learnt = serverTimeMs - (askedUpMs === undefined ? upMs : (askedUpMs + upMs) / 2);
  }

  /**
   * Learn from the stamp of a push: the server's clock shows at least that by now. This catches up
   * after a sleep that the uptime did not count.
   */
  synchronise(serverTimeMs: number): void {
    if (this.learnt !== undefined) {
      this.learnt = Math.max(this.learnt, serverTimeMs - this.now.upMs);
    }
  }

  /** A time by the device's wall clock, past or future; missing: now. */
  at(wallMs?: number): Moment {
    const { upMs, wallMs: nowMs } = this.now;
    return { ms: wallMs === undefined ? upMs : upMs + wallMs - nowMs, byServer: false };
  }

  /** As `at`, for an event in the past: a time in the future becomes now. */
  happened(wallMs?: number): Moment {
    const moment = this.at(wallMs);
    return moment.ms <= this.now.upMs + FUTURE_MS ? moment : this.at();
  }

  /** A moment by the server's clock, epoch milliseconds. */
  onServer(moment: Moment): number {
    return Math.max(0, Math.round(moment.byServer ? moment.ms : moment.ms + this.offsetMs));
  }

  isOver(moment: Moment): boolean {
    return this.onServer(moment) <= this.serverNowMs;
  }

  /** The moment by the server's clock, if that is known: the uptime ends with a restart. */
  lasting(moment: Moment): Moment {
    if (moment.byServer || this.learnt === undefined) return moment;
    return { ms: this.onServer(moment), byServer: true };
  }
}
