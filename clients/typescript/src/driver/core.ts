/**
 * The session of a driver app, over any number of connections: bytes in, actions out.
 *
 * Pure: it opens no socket, sets no timer, reads no clock and stores nothing. A shell (`DriverClient`)
 * calls a method for each event, with the time, and executes the returned actions
 * in order. It calls `tick` at `wakeUpMs` at the latest.
 */

import type { Frame } from "../codec.js";
import type { OfferMessage, ProblemMessage, ReplyMessage, Wish } from "../contract.js";
import { TIMED_STEPS } from "../contract.js";
import { Aborted, Stopped } from "../errors.js";
import { type Action, Outbox } from "./actions.js";
import { Clock, type Now } from "./clock.js";
import { Connection, type ConnectionOptions } from "./connection/connection.js";
import { cleanFix, type LocalFix, type Reading } from "./reporting/fixes.js";
import type { Request, Settling } from "./connection/link.js";
import type { Ending } from "./connection/reconnect.js";
import type { Report } from "./reporting/reports.js";
import { Session, type SessionOptions } from "./session.js";
import { Timers } from "./timers.js";
import type { HeldJob } from "./view.js";

export type CoreOptions = ConnectionOptions & SessionOptions;

/** A step as the app reports it; times are by the device's wall clock. */
export type NewReport = Omit<Report, "at" | "attempt" | "call"> & {
  attempt?: number;
  at_ms?: number;
};

/** A problem as the app reports it; times are by the device's wall clock. */
export type NewProblem = Omit<ProblemMessage, "type" | "id">;

// A timer that fires this late shows that the page or the phone was asleep.
const ASLEEP_MS = 5_000;

export class DriverCore {
  readonly clock: Clock;
  readonly session: Session;
  readonly connection: Connection;
  private readonly timers = new Timers();
  private readonly out = new Outbox();
  private readonly calls = new Map<number, Request>();
  private readonly lastTimedMs = new Map<string, number>();
  private wasStopped = true;

  constructor(options: CoreOptions, now: Now) {
    this.clock = new Clock(now);
    this.session = new Session(options, this.clock, this.timers, this.out);
    this.connection = new Connection(options, this.clock, this.timers, this.out, this.session);
    this.session.connection = this.connection;
  }

  /** The uptime at which `tick` must be called; undefined: nothing is due. */
  get wakeUpMs(): number | undefined {
    return this.timers.nextMs;
  }

  /** Restore what an earlier run of the app saved (null: nothing). Call it once, first. */
  recall(now: Now, document: string | null | undefined): Action[] {
    return this.after(now, () => this.session.recall(document));
  }

  start(now: Now): Action[] {
    return this.after(now, () => {
      this.wasStopped = false;
      this.connection.start();
    });
  }

  stop(now: Now, why: Stopped): Action[] {
    return this.after(now, () => this.connection.stop(why));
  }

  /** Do what is due. */
  tick(now: Now): Action[] {
    return this.after(now, () => {
      const { nextMs } = this.timers;
      const asleep = nextMs !== undefined && now.upMs - nextMs > ASLEEP_MS;
      if (asleep) this.connection.networkIsBack();
      this.timers.run(now.upMs);
    });
  }

  // Events of a connection

  opened(now: Now, link: number, canPing: boolean): Action[] {
    return this.after(now, () => this.connection.opened(link, canPing));
  }

  received(now: Now, link: number, frame: Frame): Action[] {
    return this.after(now, () => this.connection.received(link, frame));
  }

  ponged(now: Now, link: number): Action[] {
    return this.after(now, () => this.connection.ponged(link));
  }

  closed(now: Now, link: number, ending: Ending): Action[] {
    return this.after(now, () => this.connection.closed(link, ending));
  }

  /** Keep the fixes of a frame that the engine has not taken; it wants none for `afterS`. */
  unsent(now: Now, fixes: readonly LocalFix[], afterS?: number): Action[] {
    return this.after(now, () => this.session.sender.putBack(fixes, afterS));
  }

  tokenGiven(now: Now, ask: number, token: unknown): Action[] {
    return this.after(now, () => this.connection.tokens.given(ask, token));
  }

  tokenFailed(now: Now, ask: number, reason: string): Action[] {
    return this.after(now, () => this.connection.tokens.failed(ask, reason));
  }

  // What the app does

  networkIsBack(now: Now): Action[] {
    return this.after(now, () => this.connection.networkIsBack());
  }

  cut(now: Now, awayS?: number): Action[] {
    return this.after(now, () => this.connection.cut(awayS));
  }

  suspend(now: Now, suspended: boolean): Action[] {
    return this.after(now, () => this.connection.suspend(suspended));
  }

  /** Queue a reading; `kept` is false for an unusable one. */
  location(now: Now, reading: Reading): { kept: boolean; actions: Action[] } {
    let kept = false;
    const actions = this.after(now, () => {
      kept = this.session.sender.add(cleanFix(reading, this.clock));
    });
    return { kept, actions };
  }

  acknowledge(now: Now, offer: OfferMessage): Action[] {
    return this.after(now, () => {
      this.connection.send({ type: "offer_ack", offer: offer.offer });
    });
  }

  /** Set the wanted status; `untilMs`: by the device's wall clock. */
  status(now: Now, call: number, wish: Wish, untilMs?: number): Action[] {
    return this.after(now, () => {
      const until = untilMs === undefined ? undefined : this.clock.at(untilMs);
      this.ask(call, this.session.newWish({ wish, until }, this.settling(call)));
    });
  }

  accept(now: Now, call: number, offer: string): Action[] {
    return this.after(now, () => {
      const { session } = this;
      let jobs: HeldJob[] = [];
      const settling = this.settling(call, () => jobs);
      this.ask(call, {
        ...this.answerToOffer(offer, settling),
        make: (id) => ({ type: "accept", id, offer }),
        onReply: (reply) => {
          jobs = session.view.applyAccepted(offer, reply);
          session.noteChanges();
          settling.onReply(reply);
        },
      });
    });
  }

  decline(now: Now, call: number, offer: string, reason?: string): Action[] {
    return this.after(now, () => {
      const settling = this.settling(call);
      this.ask(call, {
        ...this.answerToOffer(offer, settling),
        make: (id) => ({ type: "decline", id, offer, reason }),
        onReply: (reply) => {
          this.session.view.applyAnswered(offer, reply);
          this.session.noteChanges();
          settling.onReply(reply);
        },
      });
    });
  }

  /** Queue a step. Throws `RangeError` for a job that was never held, and `QueueFull`. */
  progress(now: Now, call: number, report: NewReport): Action[] {
    return this.after(now, () => {
      const { attempt = this.session.view.attemptOf(report.job), at_ms, ...rest } = report;
      if (attempt === undefined) {
        throw new RangeError(`job ${report.job} was never held here; name its attempt`);
      }
      const at = this.clock.happened(at_ms);
      if (TIMED_STEPS.includes(report.step)) {
        // One that is not later than the last is a repeat to the engine.
        const lastMs = this.lastTimedMs.get(report.job);
        if (at_ms === undefined && lastMs !== undefined && at.ms <= lastMs) at.ms = lastMs + 1;
        this.lastTimedMs.set(report.job, at.ms);
      }
      this.session.addReport({ ...rest, attempt, at, call });
    });
  }

  problem(now: Now, call: number, problem: NewProblem): Action[] {
    return this.after(now, () => {
      const { job, at_ms, until_ms } = problem;
      const attempt = problem.attempt ?? (job && this.session.view.attemptOf(job)) ?? undefined;
      const at = this.clock.at(at_ms);
      const until = until_ms === undefined ? undefined : this.clock.at(until_ms);
      const settling = this.settling(call);
      this.ask(call, {
        ...settling,
        make: (id) => ({
          ...problem,
          type: "problem",
          id,
          attempt: attempt as number | undefined,
          at_ms: this.clock.onServer(at),
          until_ms: until && this.clock.onServer(until),
        }),
        onReply: (reply) => {
          this.session.applyState(reply);
          settling.onReply(reply);
        },
        deadlineMs: this.session.deadlineMs,
        afterFixes: false,
        over: false,
      });
    });
  }

  /** Give a call up: it fails at once, and its answer still counts. */
  giveUp(now: Now, call: number): Action[] {
    return this.after(now, () => {
      const request = this.calls.get(call);
      if (request !== undefined) this.connection.abandon(request, new Aborted("given up"));
    });
  }

  private answerToOffer(offer: string, settling: Settling): Omit<Request, "make" | "onReply"> {
    return {
      ...settling,
      onRefusal: (refusal) => {
        this.session.view.applyRefused(offer, refusal.code);
        this.session.noteChanges();
        settling.onRefusal(refusal);
      },
      deadlineMs: this.session.deadlineMs,
      afterFixes: false,
      over: false,
    };
  }

  private ask(call: number, request: Request): void {
    this.calls.set(call, request);
    this.connection.request(request);
  }

  /** Settle the app's call with the outcome of its request; a second settlement has no effect. */
  private settling(call: number, jobs?: () => HeldJob[]): Settling {
    const settle = (outcome: { reply?: ReplyMessage; error?: Error; jobs?: HeldJob[] }): void => {
      if (this.calls.delete(call)) this.out.push({ do: "settle", call, ...outcome });
    };
    return {
      onReply: (reply) => settle({ reply, jobs: jobs?.() }),
      onRefusal: (error) => settle({ error }),
      onFailure: (error) => settle({ error }),
    };
  }

  private after(now: Now, work: () => void): Action[] {
    this.clock.set(now);
    work();
    const { stopped } = this.connection;
    if (stopped !== undefined && !this.wasStopped) {
      this.wasStopped = true;
      this.session.failPending(stopped);
      this.out.emit({ type: "ended", reason: stopped });
    }
    return this.out.take();
  }
}
