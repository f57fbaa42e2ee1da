/** The part of a driver app's session that outlives connections: state, buffers, wanted status. Pure. */

import { boundedS, FullJitter, type Random } from "../backoff.js";
import type {
  App,
  Device,
  HelloMessage,
  OfferMessage,
  ReplyMessage,
  ServerMessage,
  Vehicle,
  WelcomeMessage,
} from "../contract.js";
import { BEFORE_PICKUP } from "../contract.js";
import { NoAnswer, type RequestRefused } from "../errors.js";
import type { Outbox } from "./actions.js";
import type { Clock } from "./clock.js";
import type { Connection, ConnectionListener } from "./connection/connection.js";
import { EndedJobs } from "./reporting/ended_jobs.js";
import { FixSender } from "./reporting/fix_sender.js";
import { FixBuffer } from "./reporting/fixes.js";
import type { Request, Settling } from "./connection/link.js";
import {
  type QueuedReport,
  type Report,
  reportMessage,
  ReportQueue,
} from "./reporting/reports.js";
import { decodeSaved, encodeSaved, type Intent } from "./saved.js";
import type { Timers } from "./timers.js";
import { DriverView, type HeldJob } from "./view.js";

export interface SessionOptions {
  vehicle?: Vehicle;
  app?: App;
  device?: Device;
  autoAcknowledge: boolean;
  locationEveryMs?: number;
  fixLimit: number;
  requestTimeoutS: number;
  random: Random;
}

const FIRST_RETRY_S = 0.5;
const LONGEST_RETRY_S = 30;

/**
 * Whether a report is over. All fixes precede one that needs a position: the driver must move first,
 * and other reports must not wait for that.
 */
function isFinal(refusal: RequestRefused): boolean {
  return !refusal.retry || refusal.code === "no_position";
}

export class Session implements ConnectionListener {
  view = new DriverView();
  readonly reports = new ReportQueue();
  readonly fixes: FixBuffer;
  readonly sender: FixSender;
  intent?: Intent;
  /** The connection that this session listens to. */
  connection!: Connection;
  private readonly jitter: FullJitter;
  private lastOffer?: string;
  private readonly ended = new EndedJobs();
  private reporting?: { report: Report; request: Request };
  /** The app's `status` that is not answered yet. */
  private asked?: Request;
  private restating?: Request;
  /** Whether the engine has forgotten the wanted status. */
  private forgotten = false;
  private owner?: readonly [string, string];
  private written?: string;
  private announcedDriver: string;
  private announcedJobs: ReadonlyMap<string, HeldJob>;
  private recalling = true;

  constructor(
    private readonly options: SessionOptions,
    private readonly clock: Clock,
    private readonly timers: Timers,
    private readonly out: Outbox,
  ) {
    this.fixes = new FixBuffer(options.fixLimit);
    this.sender = new FixSender(
      this.fixes,
      options.locationEveryMs,
      clock,
      timers,
      () => this.connection,
      (sent) => this.flushed(sent),
    );
    this.jitter = new FullJitter(options.random, FIRST_RETRY_S, LONGEST_RETRY_S);
    this.announcedDriver = JSON.stringify([this.view.state, this.view.barred]);
    this.announcedJobs = this.view.jobs;
  }

  get offered(): boolean {
    return this.view.offer !== null && this.isLive(this.view.offer);
  }

  /** The interval between fixes. */
  get locationMs(): number {
    return this.sender.everyMs;
  }

  get deadlineMs(): number {
    return this.clock.upMs + this.options.requestTimeoutS * 1000;
  }

  /** The reports that wait for the engine, as an app shows them. */
  get queued(): QueuedReport[] {
    return this.reports.all.map(({ job, step, at, store, parcels }) => ({
      job,
      step,
      at_ms: this.clock.onServer(at),
      store,
      parcels,
    }));
  }

  /** Whether an offer can still be answered, by the known server time. */
  isLive(offer: OfferMessage): boolean {
    return this.view.offer?.offer === offer.offer && this.clock.serverNowMs < offer.expires_ms;
  }

  /** Restore what an earlier run of the app saved; nothing is saved before. */
  recall(document: string | null | undefined): void {
    this.recalling = false;
    const kept = decodeSaved(document, this.clock);
    this.owner ??= kept.owner;
    this.intent ??= kept.intent;
    this.view.recalled = new Map(kept.holds.map((held) => [held.job, held]));
    this.reports.recall(kept.reports);
    if (kept.reports.length) this.queueChanged();
  }

  /** The first message: identity and held jobs. All fixes follow the welcome. */
  hello(token: string): HelloMessage {
    const { vehicle, app, device } = this.options;
    const now_ms = Math.max(0, Math.round(this.clock.wallMs));
    return { type: "hello", token, now_ms, vehicle, holds: this.view.holds(), app, device };
  }

  welcomed(welcome: WelcomeMessage): void {
    const owner = [welcome.market, welcome.driver] as const;
    if (this.owner !== undefined && String(this.owner) !== String(owner)) this.discardOtherDriver();
    this.owner = owner;
    this.sender.setPace(welcome.location_ms);
    this.view.applyWelcome(welcome);
    for (const held of welcome.jobs) {
      if (!this.reports.isFull) this.addReport(...this.ended.takeLost(held));
    }
    this.out.emit(welcome);
    this.noteChanges();
    if (welcome.offer !== null) this.offeredNow(welcome.offer);
    this.sender.welcomed();
    this.forgotten = this.mustRestate(welcome);
    // Not yet connected at the first welcome: `connected` follows.
    this.restate();
  }

  connected(): void {
    this.sender.send();
    this.report();
    this.restate();
  }

  received(message: ServerMessage): void {
    switch (message.type) {
      case "offer":
      case "offer_closed":
      case "job":
      case "state":
        if (message.type === "offer") this.clock.synchronise(message.server_time_ms);
        if (!this.view.applyPush(message)) return;
        if (message.type === "state" && message.why === "block_over") this.intent = undefined;
        if (message.type === "state" && message.why === "transfer") {
          this.intent = { wish: "paused" };
        }
        this.out.emit(message);
        this.noteChanges();
        if (message.type === "offer") this.offeredNow(message);
        break;
      case "pace":
        this.sender.setPace(message.location_ms);
        this.out.emit(message);
        break;
      case "drain":
        this.out.emit(message);
        break;
      case "error":
        if (message.id === null) this.out.emit(message);
        break;
    }
  }

  /** Apply the driver's state in a reply. */
  applyState(reply: ReplyMessage): void {
    this.view.applyReply(reply);
    this.noteChanges();
  }

  flush(): boolean {
    return this.sender.flush();
  }

  private flushed(sent: boolean): void {
    if (sent) this.view.fixesSent();
    this.noteChanges();
  }

  // Reports

  /** Keep reports until the engine has answered them. Throws `QueueFull`. */
  addReport(...reports: Report[]): void {
    if (!reports.length) return;
    for (const report of reports) this.reports.add(report);
    this.queueChanged();
    this.keep();
    this.report();
  }

  /** Deliver the first report; the next one follows its answer. */
  private report(): void {
    const report = this.reports.first;
    if (this.reporting !== undefined && this.reporting.report !== report) {
      // A late answer has settled it: its repetition is no longer needed.
      this.connection.abandon(this.reporting.request);
    }
    if (report === undefined || this.reporting !== undefined || this.timers.has("report")) return;
    if (this.connection.stopped !== undefined) return;
    const request: Request = {
      make: (id) => reportMessage(report, id, this.clock),
      onReply: (reply) => this.reported(report, reply),
      onRefusal: (refusal) => this.reportRefused(report, refusal),
      onFailure: (error) => {
        this.reporting = undefined;
        if (error instanceof NoAnswer) this.report();
      },
      deadlineMs: this.deadlineMs,
      // Its fixes say whether the driver has been at the place.
      afterFixes: report.step === "returned",
      over: false,
    };
    this.reporting = { report, request };
    this.connection.request(request);
  }

  private reported(report: Report, reply: ReplyMessage): void {
    // A job that was given up or held is not this driver's at the raised attempt.
    if (reply.attempt !== undefined && !BEFORE_PICKUP.includes(reply.job_state ?? "")) {
      this.reports.renumber(report.job, report.attempt, reply.attempt);
    }
    this.view.applyReported(report.job, reply);
    this.ended.note(report, reply);
    this.settled(report, reply, undefined);
  }

  private reportRefused(report: Report, refusal: RequestRefused): void {
    if (isFinal(refusal)) {
      this.settled(report, undefined, refusal);
      return;
    }
    if (this.reporting?.report !== report) return;
    this.connection.abandon(this.reporting.request);
    const waitS = this.jitter.nextS() + boundedS(refusal.retryAfterS);
    this.timers.set("report", this.clock.upMs + waitS * 1000, () => this.report());
  }

  private settled(report: Report, reply?: ReplyMessage, refusal?: RequestRefused): void {
    if (this.reporting?.report === report) {
      this.reporting.request.over = true;
      this.reporting = undefined;
    }
    if (this.reports.first === report) {
      this.reports.settle();
      this.jitter.reset();
      const { job, attempt, step, call } = report;
      this.out.emit({ type: "report_settled", job, attempt, step, reply, refusal });
      if (call !== undefined) this.out.push({ do: "settle", call, reply, error: refusal });
      this.queueChanged();
    }
    this.noteChanges();
    this.report();
  }

  /** The client stops: the app's calls fail, and the reports stay queued. */
  failPending(error: Error): void {
    for (const report of this.reports.all) {
      if (report.call !== undefined) this.out.push({ do: "settle", call: report.call, error });
      report.call = undefined;
    }
  }

  private queueChanged(): void {
    this.out.emit({ type: "queue_changed", reports: this.queued });
  }

  // The wanted status

  /** The request for a status that the app wants. It replaces an older one that is unanswered. */
  newWish(intent: Intent, settling: Settling): Request {
    const older = [this.asked, this.restating];
    const failed = (): void => {
      if (this.asked !== request) return;
      this.asked = undefined;
      this.restate();
    };
    const request = this.wishRequest(intent, {
      onReply: (reply) => {
        if (this.asked === undefined || this.asked === request) {
          this.asked = undefined;
          this.intent = intent;
          this.forgotten = false;
        }
        this.applyState(reply);
        settling.onReply(reply);
      },
      onRefusal: (refusal) => {
        settling.onRefusal(refusal);
        failed();
      },
      onFailure: (error) => {
        settling.onFailure(error);
        failed();
      },
    });
    this.asked = request;
    for (const old of older) {
      if (old !== undefined) this.connection.abandon(old, new NoAnswer("a newer status replaced it"));
    }
    return request;
  }

  /** A request for a status, after the buffered fixes. */
  private wishRequest(intent: Intent, settling: Settling): Request {
    return {
      ...settling,
      make: (id) => {
        const until_ms = intent.until && this.clock.onServer(intent.until);
        return { type: "status", id, state: intent.wish, until_ms };
      },
      deadlineMs: this.deadlineMs,
      afterFixes: true,
      over: false,
    };
  }

  /**
   * Repeat the wanted status that the engine has forgotten, unless the app has asked for another: the
   * older one must not overtake it.
   */
  private restate(): void {
    const { intent } = this;
    if (!this.connection.connected) return;
    this.timers.clear("wish");
    if (!this.forgotten || this.asked !== undefined || intent === undefined) return;
    if (intent.until !== undefined && this.clock.isOver(intent.until)) return;
    if (this.restating !== undefined && !this.restating.over) return;
    const later = (waitS: number): void => {
      this.timers.set("wish", this.clock.upMs + waitS * 1000, () => this.restate());
    };
    this.restating = this.wishRequest(intent, {
      onReply: (reply) => {
        this.forgotten = false;
        this.applyState(reply);
      },
      onRefusal: (refusal) => {
        if (refusal.retry) later(this.jitter.nextS() + boundedS(refusal.retryAfterS));
        else this.out.emit({ type: "wish_refused", wish: intent.wish, refusal });
      },
      onFailure: (error) => {
        if (error instanceof NoAnswer) later(0);
      },
    });
    this.connection.request(this.restating);
  }

  /** Whether the engine has forgotten what the driver wants. */
  private mustRestate(welcome: WelcomeMessage): boolean {
    const wish = this.intent?.wish;
    if (welcome.state === "offline") return wish === "available" || wish === "paused";
    return welcome.state === "available" && wish === "paused";
  }

  // Offers, changes, storage

  /** Pass an offer to the app once, and acknowledge each repetition of it. */
  private offeredNow(offer: OfferMessage): void {
    if (offer.offer !== this.lastOffer) {
      this.lastOffer = offer.offer;
      this.out.push({ do: "offer", offer });
    }
    if (this.options.autoAcknowledge) {
      this.connection.send({ type: "offer_ack", offer: offer.offer });
    }
  }

  /** Announce changes of state, and save them. */
  noteChanges(): void {
    const { state, barred, jobs } = this.view;
    const driver = JSON.stringify([state, barred]);
    if (driver !== this.announcedDriver) {
      this.announcedDriver = driver;
      this.out.emit({ type: "driver_changed", state, barred });
    }
    const before = this.announcedJobs;
    if (jobs !== before && JSON.stringify([...jobs]) !== JSON.stringify([...before])) {
      this.out.emit({ type: "jobs_changed", jobs: [...jobs.values()] });
    }
    this.announcedJobs = jobs;
    this.keep();
  }

  /** Save what must outlive the app, if it has changed. */
  private keep(): void {
    if (this.recalling) return;
    // Once known, the server's time is saved, because the device's clock may be set later.
    for (const report of this.reports.all) report.at = this.clock.lasting(report.at);
    const { owner, intent } = this;
    const reports = [...this.reports.all];
    const document = encodeSaved({ owner, intent, reports, holds: this.view.holds() }, this.clock);
    if (document === this.written) return;
    this.written = document;
    this.out.push({ do: "save", document });
  }

  /** Drop the saved state of another driver, who used this device before. */
  private discardOtherDriver(): void {
    for (const { call } of this.reports.clear()) {
      const error = new NoAnswer("another driver has signed in on this device");
      if (call !== undefined) this.out.push({ do: "settle", call, error });
    }
    if (this.reporting !== undefined) this.connection.abandon(this.reporting.request);
    this.reporting = undefined;
    this.queueChanged();
    this.ended.clear();
    this.intent = undefined;
    this.view = new DriverView();
  }
}
