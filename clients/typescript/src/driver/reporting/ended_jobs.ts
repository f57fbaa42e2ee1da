/** Remembers the jobs that a driver has ended, because the engine may lose confirmed writes. */

import type { ReplyMessage, SocketJob } from "../../contract.js";
import { BEFORE_PICKUP } from "../../contract.js";
import type { Report } from "./reports.js";

const LAST_STEPS: readonly string[] = ["delivered", "returned"];
// More jobs than a driver ends while writes may still be lost.
const MAX_ENDED = 50;

/** The last steps of jobs that the engine has confirmed. */
export class EndedJobs {
  private readonly reports = new Map<string, Report>();

  /** Remember a report if it has ended its job. */
  note(report: Report, reply: ReplyMessage): void {
    if (!LAST_STEPS.includes(report.step) || reply.job_state !== report.step) return;
    this.reports.set(report.job, report);
    const [oldest] = this.reports.keys();
    if (this.reports.size > MAX_ENDED && oldest !== undefined) this.reports.delete(oldest);
  }

  /** Return the reports that end a job again, of whose end the engine does not know. */
  takeLost({ job, attempt, state }: SocketJob): Report[] {
    const ended = this.reports.get(job);
    if (ended === undefined) return [];
    this.reports.delete(job);
    const again = { ...ended, attempt, call: undefined };
    if (!BEFORE_PICKUP.includes(state)) return [again];
    return [{ ...again, step: "picked_up", proof: undefined }, again];
  }

  clear(): void {
    this.reports.clear();
  }
}
