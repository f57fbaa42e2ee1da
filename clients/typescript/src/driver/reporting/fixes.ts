/** Cleans the position readings of a device, and keeps those that were not sent yet. Pure. */

import type { Fix } from "../../contract.js";
import { MAX_FIXES } from "../../contract.js";
import type { Clock } from "../clock.js";

/**
 * A reading of the device. `at_ms`: by its wall clock; missing: now. Platforms write -1, NaN or null
 * for an unknown accuracy, heading or speed.
 */
export interface Reading {
  lat: number;
  lon: number;
  acc_m?: number | null;
  heading_deg?: number | null;
  speed_mps?: number | null;
  at_ms?: number | null;
}

/** A cleaned reading; `upMs`: when it was taken, by the device's uptime. */
export interface LocalFix {
  upMs: number;
  lat: number;
  lon: number;
  acc_m: number | null;
  heading_deg: number | null;
  speed_mps: number | null;
}

// 1e-7 degrees are about a centimetre; more digits would only cost bytes.
const DEGREES = 1e7;
// Bounds of a fix in the contract.
const MAX_ACCURACY_M = 100_000;
const MAX_SPEED_MPS = 1_000;
/** An older reading is one that the platform had cached; batches of a background task are younger. */
const CACHED_AFTER_MS = 600_000;
/** An older time is invalid: some platforms count from another epoch, or in other units. */
const NO_TIME_AFTER_MS = 365 * 86_400_000;

/**
 * Convert a reading to the contract's form.
 *
 * An accuracy, heading or speed that is negative, not finite or out of range is unknown; the place
 * is kept. A time in the future, or a year ago, counts as now. Returns undefined for invalid
 * coordinates, and for a reading of more than ten minutes ago.
 */
export function cleanFix(reading: Reading, clock: Clock): LocalFix | undefined {
  const lat = within(reading.lat, -90, 90);
  const lon = within(reading.lon, -180, 180);
  if (lat === null || lon === null) return undefined;
  const at = within(reading.at_ms, 0, Infinity);
  let upMs = clock.happened(at === null ? undefined : Math.round(at)).ms;
  if (clock.upMs - upMs > NO_TIME_AFTER_MS) upMs = clock.upMs;
  if (clock.upMs - upMs > CACHED_AFTER_MS) return undefined;
  return {
    upMs,
    lat,
    lon,
    acc_m: within(reading.acc_m, 0, MAX_ACCURACY_M),
    heading_deg: within(reading.heading_deg, 0, 360),
    speed_mps: within(reading.speed_mps, 0, MAX_SPEED_MPS),
  };
}

/** The fix as sent. */
export function onWire(fix: LocalFix, clock: Clock): Fix {
  return [
    clock.onServer({ ms: fix.upMs, byServer: false }),
    Math.round(fix.lat * DEGREES) / DEGREES,
    Math.round(fix.lon * DEGREES) / DEGREES,
    fix.acc_m,
    fix.heading_deg,
    fix.speed_mps,
  ];
}

/** The number if it is one and in range; comparisons are false for NaN. */
function within(value: number | null | undefined, lowest: number, highest: number): number | null {
  return typeof value === "number" && value >= lowest && value <= highest && value < Infinity
    ? value
    : null;
}

/** Fixes that were not sent yet, at most `limit`; a full buffer drops the oldest. */
export class FixBuffer {
  private fixes: LocalFix[] = [];
  private newestMs = -Infinity;
  dropped = 0;

  constructor(private readonly limit: number) {}

  get size(): number {
    return this.fixes.length;
  }

  /**
   * Append a fix; return whether it was kept. One that is older than the newest so far is a cached
   * one, which would move the driver back; the newest one again renews it.
   */
  add(fix: LocalFix | undefined): boolean {
    if (fix === undefined || fix.upMs < this.newestMs) {
      this.dropped += 1;
      return false;
    }
    this.newestMs = fix.upMs;
    this.fixes.push(fix);
    this.trim();
    return true;
  }

  /** Remove and return the oldest fixes, oldest first, as many as fit in one message. */
  take(): LocalFix[] {
    return this.fixes.splice(0, MAX_FIXES);
  }

  /** Put back fixes that could not be sent, in the order of time, while there is room. */
  putBack(fixes: readonly LocalFix[]): void {
    this.fixes = [...fixes, ...this.fixes].sort((one, other) => one.upMs - other.upMs);
    this.trim();
  }

  private trim(): void {
    const over = this.fixes.length - this.limit;
    if (over > 0) {
      this.fixes.splice(0, over);
      this.dropped += over;
    }
  }
}
