/**
 * The driver's state as its app knows it: its live offer and the jobs that it holds.
 *
 * Pure: messages change the state. `welcome` replaces all of it; later pushes apply in the order of
 * `seq`, and a push with an old `seq` is ignored.
 */

import type {
  Barred,
  Held,
  JobChangedMessage,
  OfferClosedMessage,
  OfferMessage,
  ReplyMessage,
  SocketJob,
  StateChangedMessage,
  WelcomeMessage,
} from "../contract.js";
import { BARRED_WHY, HELD } from "../contract.js";

export type Push = OfferMessage | OfferClosedMessage | JobChangedMessage | StateChangedMessage;

/** A job that the driver holds, as in the engine's last message. `detail`: the full job. */
export interface HeldJob {
  job: string;
  attempt: number;
  state: string;
  detail: SocketJob;
}

// With one of these reasons the job is no longer this driver's, whatever its state.
const TAKEN_AWAY = ["collected", "unassigned", "silent", "transferred"];
// A position, or any other frame, ends these; no push announces the end.
const ENDED_BY_FIXES = ["stale", "no_position", "unreachable"];
// The contract's limit for `holds` in `hello`.
const MAX_HOLDS = 50;
// More jobs than a driver can have on board without having reported them.
const MAX_FORMER = 50;

function heldJob(detail: SocketJob): HeldJob {
  return { job: detail.job, attempt: detail.attempt, state: detail.state, detail };
}

/** The state known to the app; empty before the first `welcome`. */
export class DriverView {
  state: string = "offline";
  offer: OfferMessage | null = null;
  jobs = new Map<string, HeldJob>();
  barred: Barred | null = null;
  /** What an earlier run of the app held, until the first `welcome`. */
  recalled = new Map<string, Held>();
  /** Jobs that were taken away: custody of one may come back with a late `picked_up`. */
  private former = new Map<string, HeldJob>();
  private seq = 0;

  /** The `holds` of `hello`: the held jobs as the engine last acknowledged them. */
  holds(): Held[] {
    const holds = new Map(this.recalled);
    for (const { job, attempt, state } of this.jobs.values()) {
      holds.set(job, { job, attempt, state });
    }
    return [...holds.values()].slice(0, MAX_HOLDS);
  }

  /** The attempt of a job that is or was held. */
  attemptOf(job: string): number | undefined {
    const held = this.jobs.get(job) ?? this.recalled.get(job) ?? this.former.get(job);
    return held?.attempt;
  }

  applyWelcome(welcome: WelcomeMessage): void {
    this.seq = welcome.seq;
    this.state = welcome.state;
    this.offer = welcome.offer;
    this.barred = welcome.barred ?? null;
    this.recalled.clear();
    const held = new Map(welcome.jobs.map((detail) => [detail.job, heldJob(detail)]));
    for (const [job, before] of this.jobs) {
      if (!held.has(job)) this.takenAway(before);
    }
    this.jobs = held;
  }

  /** Apply a push; return whether it was new. One with an old `seq` changes nothing. */
  applyPush(push: Push): boolean {
    if (push.seq <= this.seq) return false;
    this.seq = push.seq;
    switch (push.type) {
      case "offer":
        this.offer = push;
        this.barred = null;
        // Else it is one more job for a run, which continues.
        if (!this.jobs.size) this.state = "offered";
        break;
      case "offer_closed":
        this.closeOffer(push.offer);
        break;
      case "job":
        this.applyJob(push);
        break;
      case "state":
        this.applyState(push);
        break;
    }
    return true;
  }

  /** Apply the reply to `accept`; return the accepted jobs. */
  applyAccepted(offer: string, reply: ReplyMessage): HeldJob[] {
    this.applyAnswered(offer, reply);
    const accepted = (reply.jobs ?? []).map(heldJob);
    for (const held of accepted) this.setJob(held);
    return accepted;
  }

  /** Apply the reply to `accept` or `decline`. */
  applyAnswered(offer: string, reply: ReplyMessage): void {
    this.applyReply(reply);
    if (this.offer?.offer === offer) this.offer = null;
  }

  /** Apply the refusal of an answer to an offer. */
  applyRefused(offer: string, code: string): void {
    if (code === "offer_closed" || code === "not_yours") this.closeOffer(offer);
  }

  /** Apply the driver's state in a reply. */
  applyReply(reply: ReplyMessage): void {
    this.state = reply.state;
    this.barred = reply.barred ?? null;
  }

  /** Apply the reply to `progress`. */
  applyReported(job: string, reply: ReplyMessage): void {
    this.applyReply(reply);
    // From another driver, by a transfer.
    for (const detail of reply.jobs ?? []) this.setJob(heldJob(detail));
    let held = this.jobs.get(job) ?? this.former.get(job);
    if (reply.detail !== undefined) held = heldJob(reply.detail);
    if (held === undefined || reply.job_state === undefined) {
      this.forget(job);
      return;
    }
    if (!HELD.includes(reply.job_state)) {
      this.forget(job);
      // A job that waits for a shop may still turn out to be on board.
      if (reply.job_state === "scheduled") this.takenAway(held);
      return;
    }
    this.former.delete(job);
    this.setJob({ ...held, state: reply.job_state, attempt: reply.attempt ?? held.attempt });
  }

  /** A position was sent: conditions that a position ends are over. */
  fixesSent(): void {
    if (this.barred !== null && ENDED_BY_FIXES.includes(this.barred.why)) this.barred = null;
  }

  /** Replace a job; the map is a new one, so that a listener may compare. */
  private setJob(held: HeldJob): void {
    this.jobs = new Map(this.jobs).set(held.job, held);
  }

  private forget(job: string): void {
    this.jobs = new Map(this.jobs);
    if (!this.jobs.delete(job)) this.former.delete(job);
  }

  private closeOffer(offer: string): void {
    if (this.offer?.offer !== offer) return;
    this.offer = null;
    // Available, unless the driver had asked for a break: then `state` follows.
    if (this.state === "offered") this.state = "available";
  }

  private applyState(push: StateChangedMessage): void {
    this.state = push.state;
    // One of these is also the reason why the driver gets no offers.
    if (BARRED_WHY.includes(push.why)) {
      this.barred = { why: push.why, until_ms: push.until_ms ?? null };
    } else if (push.why === "resumed") {
      this.barred = null;
    }
  }

  private applyJob(push: JobChangedMessage): void {
    if (push.driver_state !== undefined) this.state = push.driver_state;
    let held = this.jobs.get(push.job);
    if (!HELD.includes(push.state) || TAKEN_AWAY.includes(push.reason ?? "")) {
      if (held !== undefined) {
        this.forget(push.job);
        this.takenAway(held);
      }
      return;
    }
    if (push.detail !== undefined) held = heldJob(push.detail);
    if (held !== undefined) this.setJob({ ...held, state: push.state, attempt: push.attempt });
  }

  private takenAway(held: HeldJob): void {
    this.former.set(held.job, held);
    const [oldest] = this.former.keys();
    if (this.former.size > MAX_FORMER && oldest !== undefined) this.former.delete(oldest);
  }
}
