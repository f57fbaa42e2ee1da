/**
 * The run as the phone keeps it: a tab that was killed goes on with it although there is no line.
 *
 * The client keeps what the engine must hear; this is what the driver must see: shops, codes, doors.
 * It names customers, so it goes with the last order, when the driver signs out, and after a day.
 */

import type { HeldJob, QueuedReport } from "@mallard/client";

const LONGEST_MS = 86_400_000;

export interface Run {
  jobs: readonly HeldJob[];
  /** Steps that the jobs do not show yet. */
  taken: readonly QueuedReport[];
}

const NONE: Run = { jobs: [], taken: [] };

export class KeptRun {
  private written: string | null = null;

  constructor(
    private readonly key: string,
    private readonly area: Pick<Storage, "getItem" | "setItem" | "removeItem"> = localStorage,
  ) {}

  read(nowMs = Date.now()): Run {
    try {
      const { jobs, taken, savedMs } = JSON.parse(this.area.getItem(this.key) ?? "{}");
      const isFresh = Math.abs(nowMs - savedMs) < LONGEST_MS;
      return isFresh && Array.isArray(jobs) && Array.isArray(taken) ? { jobs, taken } : NONE;
    } catch {
      return NONE;
    }
  }

  write({ jobs, taken }: Run, nowMs = Date.now()): void {
    const text = JSON.stringify([jobs, taken]);
    if (text === this.written) return;
    this.written = text;
    try {
      if (jobs.length === 0) this.area.removeItem(this.key);
      else this.area.setItem(this.key, JSON.stringify({ jobs, taken, savedMs: nowMs }));
    } catch {
      // A full storage: the engine says all of it again as soon as there is a line.
    }
  }
}
