/** Sends a driver's fixes at the advised interval, and in bursts those of an absence. Pure. */

import { boundedS } from "../../backoff.js";
import type { Clock } from "../clock.js";
import type { Connection } from "../connection/connection.js";
import { type FixBuffer, type LocalFix, onWire } from "./fixes.js";
import type { Timers } from "../timers.js";

const LOCATION_MS = 4_000;
// Stored fixes are sent in bursts. One takes three quarters of what a socket may send at once, and is
// refilled before the next.
const BURST_FRAMES = 20;
const BURST_EVERY_MS = 4_000;

export class FixSender {
  private advisedEveryMs = LOCATION_MS;
  private fixesAtMs = 0;
  /** The uptime before which the engine wants no fixes; only those that a request needs are sent. */
  private heldUntilMs = 0;
  /** The uptime before which no further burst of fixes is sent. */
  private burstAtMs = 0;

  /**
   * @param fixes The fixes that wait.
   * @param ownEveryMs The app's interval between fixes; undefined: the one that the engine advises.
   * @param connection The connection that sends them.
   * @param onFlush Called after each burst, with whether it has sent a fix.
   */
  constructor(
    private readonly fixes: FixBuffer,
    private readonly ownEveryMs: number | undefined,
    private readonly clock: Clock,
    private readonly timers: Timers,
    private readonly connection: () => Connection,
    private readonly onFlush: (sent: boolean) => void,
  ) {}

  /** The interval between fixes. */
  get everyMs(): number {
    return this.ownEveryMs ?? this.advisedEveryMs;
  }

  /** Change the advised interval, including a wait that has begun. */
  setPace(locationMs: number): void {
    if (locationMs <= 0 || locationMs === this.advisedEveryMs) return;
    this.advisedEveryMs = locationMs;
    this.fixesAtMs = 0;
    this.send();
  }

  /** Queue a fix until it is sent; return whether it was kept. */
  add(fix: LocalFix | undefined): boolean {
    const kept = this.fixes.add(fix);
    if (kept) this.send();
    return kept;
  }

  /** Keep fixes that the engine has not taken; it wants none for `afterS`. */
  putBack(fixes: readonly LocalFix[], afterS = 0): void {
    this.fixes.putBack(fixes);
    const heldUntilMs = this.clock.upMs + boundedS(afterS) * 1000;
    this.heldUntilMs = Math.max(this.heldUntilMs, heldUntilMs);
    this.send();
  }

  /** Send new fixes in batches, at the interval. */
  send(): void {
    if (!this.connection().connected || !this.fixes.size) return;
    const { upMs } = this.clock;
    const notBeforeMs = Math.max(this.fixesAtMs, this.heldUntilMs);
    if (upMs < notBeforeMs) {
      this.timers.set("fixes", notBeforeMs, () => this.send());
      return;
    }
    this.fixesAtMs = upMs + this.everyMs;
    if (this.flush()) this.connection().fixesSent();
  }

  /** Send all after a welcome, unless the engine wants none yet. */
  welcomed(): void {
    if (this.clock.upMs >= this.heldUntilMs) this.flush();
  }

  /**
   * Send the fixes that wait, oldest first, no faster than a socket may; return whether none is left.
   * The rest follows by itself.
   */
  flush(): boolean {
    const { upMs } = this.clock;
    let frames = 0;
    for (; upMs >= this.burstAtMs; frames += 1) {
      if (frames === BURST_FRAMES) {
        this.burstAtMs = upMs + BURST_EVERY_MS;
        break;
      }
      const fixes = this.fixes.take();
      if (!fixes.length) break;
      const now_ms = Math.max(0, Math.round(this.clock.wallMs));
      const wire = fixes.map((fix) => onWire(fix, this.clock));
      this.connection().send({ type: "location", fixes: wire, now_ms }, fixes);
    }
    this.onFlush(frames > 0);
    if (this.fixes.size) {
      this.fixesAtMs = this.burstAtMs;
      this.send();
    }
    return !this.fixes.size;
  }
}
