/** The progress reports that the engine has not answered yet, in the order in which they happened. */

import type { ProgressMessage, Proof, Step } from "../../contract.js";
import { QueueFull } from "../../errors.js";
import type { Clock, Moment } from "../clock.js";

// More steps than a driver makes in a day. A full queue refuses new reports and drops none.
const MAX_REPORTS = 1_000;

/** A step on its way to the engine. `call`: the app's call that waits for the answer. */
export interface Report {
  job: string;
  attempt: number;
  step: Step;
  at: Moment;
  proof?: Proof;
  reason?: string;
  /** Of `collected`: what that shop handed over; without `parcels` everything. */
  store?: string;
  parcels?: number;
  /** Of a transfer's `picked_up`: the jobs that the driver got; missing: all. */
  jobs?: string[];
  call?: number;
}

/** A report as an app shows it: a step that waits for the engine. `at_ms`: by the server's clock. */
export interface QueuedReport {
  job: string;
  step: Step;
  at_ms: number;
  store?: string;
  parcels?: number;
}

export function reportMessage(report: Report, id: number, clock: Clock): ProgressMessage {
  const { job, attempt, step, proof, reason, store, parcels, jobs } = report;
  const at_ms = clock.onServer(report.at);
  return { type: "progress", id, job, attempt, step, at_ms, proof, reason, store, parcels, jobs };
}

/** Only the first is in flight at any time: a later step must not overtake an earlier one. */
export class ReportQueue {
  private reports: Report[] = [];

  get size(): number {
    return this.reports.length;
  }

  /** Whether there is no room for a report and one that precedes it. */
  get isFull(): boolean {
    return this.reports.length + 2 > MAX_REPORTS;
  }

  get first(): Report | undefined {
    return this.reports[0];
  }

  get all(): readonly Report[] {
    return this.reports;
  }

  /** Queue a report behind the others. Throws `QueueFull`. */
  add(report: Report): void {
    if (this.reports.length >= MAX_REPORTS) {
      throw new QueueFull(`${MAX_REPORTS} reports are unanswered`);
    }
    this.reports.push(report);
  }

  /** Queue the reports of an earlier run of the app before those of this one. */
  recall(reports: readonly Report[]): void {
    this.reports.unshift(...reports);
  }

  /** Remove the first report, which was answered. */
  settle(): void {
    this.reports.shift();
  }

  /** Drop all reports; return them. */
  clear(): Report[] {
    return this.reports.splice(0);
  }

  /** Move a job's reports to the attempt to which custody has raised it. */
  renumber(job: string, attempt: number, raised: number): void {
    for (const report of this.reports) {
      if (report.job === job && report.attempt === attempt) report.attempt = raised;
    }
  }
}
