/**
 * The driver app's state: the client of the SDK, and signals that the views read.
 *
 * The client does all that must be right (one connection, offers, the queue of reports, what is kept
 * over a kill of the tab). This file turns its events into what is on the screen.
 */

import { DriverClient, Stopped, WebStorage, type DriverEvent, type HeldJob, type OfferMessage, type QueuedReport } from "@mallard/client";
import { signal } from "@preact/signals";
import { ApiError } from "../shared/api.ts";
import { toast } from "../shared/components.tsx";
import { session, signOut, type Session } from "../shared/session.ts";
import { named } from "../shared/words.ts";
import { alarm, hush } from "./alarm.ts";
import { Drafts } from "./kept/drafts.ts";
import { Outbox, type Handover, type Proof } from "./kept/outbox.ts";
import { takePosition } from "./device.ts";
import { KeptRun } from "./kept/run.ts";
import { refusals } from "./refusals.ts";
import { Requests, type Asked, type Wish } from "./kept/requests.ts";

export type Line = { is: "connecting" } | { is: "online"; over: string } | { is: "away"; untilMs: number; why: string } | { is: "stopped"; why: string };

type ProblemKind = Parameters<DriverClient["problem"]>[0];

export interface Vehicle {
  kind: "car" | "van" | "bike" | "foot";
  untilMs: number | null;
}

const VERSION = "1";
const UPLOAD_TIMEOUT_MS = 60_000;
// What waits is tried again this often, and whenever the line is back.
const AGAIN_MS = 5_000;

export class DriverApp {
  readonly line = signal<Line>({ is: "connecting" });
  readonly state = signal("offline");
  readonly barred = signal<{ why: string; until_ms?: number | null } | null>(null);
  readonly offer = signal<OfferMessage | null>(null);
  readonly jobs = signal<readonly HeldJob[]>([]);
  readonly queued = signal<readonly QueuedReport[]>([]);
  /**
   * Steps that this phone has reported since the engine last sent the job in full: its answer to a
   * report has the new state, and not what that changes of each shop.
   */
  readonly taken = signal<readonly QueuedReport[]>([]);
  readonly isBusy = signal(false);
  /** When the token ends, by the server's clock, once the engine has asked for another one. */
  readonly signInEndsMs = signal<number | null>(null);
  /** What the order service has said about an order, newest last. */
  readonly answers = signal<ReadonlyMap<string, string>>(new Map());
  readonly client: DriverClient;
  readonly outbox: Outbox;
  readonly requests: Requests;
  readonly drafts: Drafts;
  private readonly kept: KeptRun;
  /** What is held is known; before, it is what the phone has kept. */
  private isWelcomed = false;
  private again: ReturnType<typeof setTimeout> | undefined;
  private readonly details = new Map<string, HeldJob["detail"]>();

  constructor(
    who: Session,
    vehicle: Vehicle,
  ) {
    this.client = new DriverClient(location.origin, () => this.token(), {
      vehicle: { kind: vehicle.kind },
      app: { name: "mallard-web", version: VERSION },
      storage: new WebStorage(`mallard.driver.${who.market}.${who.sub}`),
      // An offer counts as seen once its card is drawn (see `shown`).
      autoAcknowledge: false,
    });
    this.outbox = new Outbox(`mallard.outbox.${who.market}.${who.sub}`, (image) => this.upload(image), (handover, proof) => this.handOver(handover, proof));
    this.requests = new Requests(`mallard.requests.${who.market}.${who.sub}`, this.world());
    this.drafts = new Drafts(`mallard.drafts.${who.market}.${who.sub}`);
    this.kept = new KeptRun(`mallard.run.${who.market}.${who.sub}`);
    const { jobs, taken } = this.kept.read();
    this.jobs.value = jobs;
    this.taken.value = taken;
    for (const { job } of taken) this.details.set(job, jobs.find((it) => it.job === job)?.detail as HeldJob["detail"]);
    this.client.onEvent((event) => this.heard(event));
  }

  start(): void {
    this.client.start();
    void this.requests.send();
  }

  async stop(): Promise<void> {
    hush();
    clearTimeout(this.again);
    await this.client.stop();
  }

  /** The driver leaves this phone: nothing of the customers stays on it. */
  async leave(): Promise<void> {
    await this.stop();
    this.kept.write({ jobs: [], taken: [] });
    this.drafts.end();
  }

  serverNowMs(): number {
    return this.client.serverNowMs();
  }

  /** The card is on the screen. */
  shown(offer: OfferMessage): void {
    this.client.acknowledge(offer);
  }

  async accept(offer: OfferMessage): Promise<void> {
    await this.request({ kind: "accept", offer: offer.offer, untilMs: offer.expires_ms });
  }

  async decline(offer: OfferMessage, reason?: string): Promise<void> {
    hush();
    await this.request({ kind: "decline", offer: offer.offer, untilMs: offer.expires_ms, reason });
  }

  /** Whether the driver has answered an offer, also if the engine has not heard it yet. */
  isAnswered(offer: OfferMessage): boolean {
    return this.requests.waiting.value.some((it) => "offer" in it && it.offer === offer.offer);
  }

  async goOnline(untilMs: number | null): Promise<void> {
    await this.wish("available", untilMs === null ? null : this.onServer(untilMs));
  }

  async pause(): Promise<void> {
    await this.wish("paused");
  }

  async goOffline(): Promise<void> {
    await this.wish("offline");
  }

  private async wish(wish: Wish, untilMs: number | null = null): Promise<void> {
    await this.request({ kind: "status", wish, untilMs });
  }

  /** Report a step. It is kept and repeated until the engine has answered, so nothing waits for it. */
  step(job: HeldJob, step: Parameters<DriverClient["progress"]>[1], fields: Parameters<DriverClient["progress"]>[2] = {}): void {
    try {
      void this.client.progress(job.job, step, fields);
      const { store, parcels } = fields;
      this.details.set(job.job, this.client.jobs.get(job.job)?.detail ?? job.detail);
      this.taken.value = [...this.taken.value, { job: job.job, step, at_ms: this.serverNowMs(), store, parcels }];
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "danger");
    }
  }

  /** Report what is wrong; times by the device's clock. Kept until the engine has answered. */
  async problem(what: ProblemKind, about: { job?: string; attempt?: number; store?: string; until_ms?: number } = {}): Promise<void> {
    const { until_ms, ...rest } = about;
    const untilMs = until_ms === undefined ? null : this.onServer(until_ms);
    await this.request({ kind: "problem", what, ...rest, atMs: this.serverNowMs(), untilMs });
  }

  /** What stops the driver. Of a job that it holds, where there is one: a repeat is then one problem. */
  async emergency(kind: "breakdown" | "accident" | "unsafe"): Promise<void> {
    const [held] = this.jobs.value;
    // Each breakdown asks for a transfer, also after an earlier one that nobody took.
    const about = held && kind !== "breakdown" ? { job: held.job, attempt: held.attempt } : {};
    await this.problem(kind, about);
  }

  /** Hand over with proofs; images are uploaded first, when there is a line. */
  async handover(handover: Omit<Handover, "atMs">): Promise<void> {
    const said = { ...handover, atMs: this.serverNowMs() };
    this.drafts.give(said.job, said.step);
    // The engine believes a return only from a driver whom it has seen at the place.
    if (handover.step === "returned") {
      this.isBusy.value = true;
      await takePosition(this.client).finally(() => (this.isBusy.value = false));
    }
    try {
      await this.outbox.add(said);
    } catch (error) {
      this.uploadFailed(error);
    }
  }

  private handOver({ job, step, atMs }: Pick<Handover, "job" | "step" | "atMs">, proof: Proof | undefined): void {
    const fields = { at_ms: this.onDevice(atMs), ...(proof ? { proof: proof as never } : {}) };
    try {
      void this.client.progress(job, step, fields);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "danger");
    }
  }

  private uploadFailed(error: unknown): void {
    const [first] = this.outbox.waiting.value;
    if (first && error instanceof ApiError && !error.isTemporary && error.status !== 401) {
      this.outbox.drop(first.job);
      this.drafts.takeBack(first.job, first.step);
      toast(`The photo was not accepted: ${error.message} Take another one.`, "danger");
    } else {
      this.trySoon();
      toast("The photo will be sent when you are back online.");
    }
  }

  /** Ask the engine now if there is a line; else as soon as there is. */
  private async request(asked: Asked): Promise<void> {
    this.isBusy.value = true;
    try {
      await this.requests.add(asked);
    } finally {
      this.isBusy.value = false;
      this.read();
    }
    if (!this.requests.waiting.value.includes(asked)) return;
    this.trySoon();
    toast("No answer yet. Retrying automatically.");
  }

  private world(): Requests["world"] {
    const { client } = this;
    const app = this;
    return {
      get isConnected() {
        return client.connected;
      },
      get nowMs() {
        return client.serverNowMs();
      },
      isHeld: (job) => client.jobs.has(job),
      isStepWaiting: (job, beforeMs) => client.queued.some((it) => it.job === job && it.at_ms <= beforeMs),
      ask: (asked) => app.ask(asked),
      refused: (_asked, refusal) => toast(refusals(refusal.code, refusal.message), "danger"),
      tooLate: ({ kind }) => toast(TOO_LATE[kind], "danger"),
    };
  }

  private async ask(asked: Asked): Promise<void> {
    const { client } = this;
    const until = asked.untilMs === null ? {} : { until_ms: this.onDevice(asked.untilMs) };
    switch (asked.kind) {
      case "accept":
        await client.accept(asked);
        return hush();
      case "decline":
        return client.decline(asked, asked.reason);
      case "status":
        await client.status(asked.wish, until);
        return;
      case "problem": {
        const { what, job, attempt, store, atMs } = asked;
        await client.problem(what as ProblemKind, { job, attempt, store, at_ms: this.onDevice(atMs), ...until } as never);
        toast(`Reported: ${(PROBLEMS[what] ?? named(what)).toLowerCase()}.`);
      }
    }
  }

  /** Try what waits, and again after a while for as long as anything does. */
  private async tryNow(): Promise<void> {
    clearTimeout(this.again);
    const { client, outbox, requests } = this;
    if (client.connected) {
      const isQueued = (job: string): boolean => client.queued.some((it) => it.job === job && it.step === "returned");
      if (outbox.returns.value.some((it) => !isQueued(it.job))) await takePosition(client);
      outbox.sayAgain((job) => client.jobs.get(job)?.state === "returning", isQueued);
      await Promise.all([requests.send(), outbox.send().catch((error: unknown) => this.uploadFailed(error))]);
      this.read();
    }
    if (outbox.waiting.value.length + outbox.returns.value.length + requests.waiting.value.length > 0) this.trySoon();
  }

  private trySoon(): void {
    clearTimeout(this.again);
    this.again = setTimeout(() => void this.tryNow(), AGAIN_MS);
  }

  private onServer(deviceMs: number): number {
    return deviceMs + this.serverNowMs() - Date.now();
  }

  private onDevice(serverMs: number): number {
    return serverMs - this.serverNowMs() + Date.now();
  }

  private heard(event: DriverEvent): void {
    switch (event.type) {
      case "connecting":
        this.line.value = { is: "connecting" };
        break;
      case "welcome":
        this.isWelcomed = true;
        break;
      case "connected":
        this.line.value = { is: "online", over: event.over };
        void this.tryNow();
        break;
      case "disconnected":
        this.line.value = { is: "away", untilMs: Date.now() + event.reconnectingInS * 1000, why: event.reason };
        break;
      case "ended":
        this.line.value = { is: "stopped", why: endOf(event.reason) };
        if (event.reason.closeCode === 4501) signOut("You were signed out: the token has expired or was revoked.");
        break;
      case "token_trouble":
        // The engine asks for another one in good time; this one is good until it ends.
        this.signInEndsMs.value = session.value?.expiresMs ?? 0;
        if (this.signInEndsMs.value <= this.serverNowMs()) signOut("The token has expired. Ask for another one.");
        break;
      case "offer":
        alarm();
        break;
      case "offer_closed":
        hush();
        if (event.why !== "expired") toast(`The offer is gone: ${named(event.why).toLowerCase()}.`);
        break;
      case "job":
        this.showChange(event.job, event.reason, event.answer);
        break;
      case "report_settled":
        if (event.step === "returned") {
          const isKnown = this.outbox.returns.value.some((it) => it.job === event.job && it.isDoubted);
          this.outbox.returnSettled(event.job, event.refusal?.code);
          if (event.refusal?.code === "no_position") {
            this.trySoon();
            if (isKnown) break;
          }
        }
        if (this.requests.waiting.value.length > 0) void this.requests.send();
        // Of several proofs each but the last is answered so; the next is on its way.
        if (event.refusal?.code === "proof_needed" && this.client.queued.some((it) => it.job === event.job)) break;
        if (event.refusal) {
          if (event.step === "delivered" || event.step === "returned") this.proofRefused(event.job, event.step, event.refusal.code);
          this.taken.value = this.taken.value.filter((it) => it.job !== event.job || it.step !== event.step);
          toast(refusals(event.refusal.code, event.refusal.message, event.refusal.triesLeft, event.step), "danger");
        }
        break;
      case "wish_refused":
        toast(refusals(event.refusal.code, event.refusal.message), "danger");
        break;
      default:
        break;
    }
    this.read();
  }

  private proofRefused(job: string, step: "delivered" | "returned", code: string): void {
    this.drafts.takeBack(job, step);
    if (code === "wrong_code" && this.drafts.of(job, step).pin) this.drafts.change(job, step, { pin: "" });
  }

  private showChange(job: string, reason: string | undefined, answer: { action: string; text?: string } | undefined): void {
    if (answer) {
      const words = answer.text || ANSWERS[answer.action] || named(answer.action);
      this.answers.value = new Map(this.answers.value).set(job, words);
      alarm(1);
      toast(`Answer: ${words}`);
    } else if (reason !== undefined && Object.hasOwn(REASONS, reason)) {
      toast(REASONS[reason]!);
    }
  }

  private read(): void {
    const { client } = this;
    this.state.value = client.state;
    this.barred.value = client.barred;
    this.offer.value = client.offer;
    if (client.offer === null) hush();
    this.queued.value = [...client.queued];
    if (!this.isWelcomed) return;
    this.jobs.value = [...client.jobs.values()];
    this.drafts.keepOnly((job) => client.jobs.has(job));
    for (const [job, detail] of this.details) if (client.jobs.get(job)?.detail !== detail) this.forget(job);
    this.kept.write({ jobs: this.jobs.value, taken: this.taken.value });
  }

  /** The engine has sent the job again: its version counts, except for what it has not heard yet. */
  private forget(job: string): void {
    const detail = this.client.jobs.get(job)?.detail;
    const isUnheard = (taken: QueuedReport): boolean =>
      detail !== undefined && this.queued.value.some((it) => it.job === job && it.step === taken.step && it.store === taken.store);
    this.taken.value = this.taken.value.filter((it) => it.job !== job || isUnheard(it));
    if (detail !== undefined && this.taken.value.some((it) => it.job === job)) this.details.set(job, detail);
    else this.details.delete(job);
  }

  private token(): string {
    const current = session.value;
    if (current === null) throw new Error("signed out");
    return current.token;
  }

  private async upload(image: Blob): Promise<string> {
    const response = await fetch("/v1/driver/proofs", {
      method: "POST",
      headers: { authorization: `Bearer ${this.token()}`, "content-type": image.type },
      body: image,
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(UPLOAD_TIMEOUT_MS),
    });
    const answer = await response.json();
    if (!response.ok) throw new ApiError(response.status, String(answer.code), String(answer.detail));
    return String(answer.proof);
  }
}

/** As the buttons say it. */
const PROBLEMS: Record<string, string> = {
  customer_unreachable: "No one answers",
  refused: "The customer refuses it",
  wrong_address: "The address is wrong",
  not_ready: "Not ready yet",
  store_closed: "The shop is closed",
  does_not_fit: "It does not fit",
  partial: "Fewer parcels",
  unsafe: "You are not safe",
};

const TOO_LATE: Record<Asked["kind"], string> = {
  accept: "Too late: the offer is gone.",
  decline: "The offer is gone.",
  status: "The time you chose has passed.",
  problem: "The order is no longer yours, so your report about it was not sent.",
};

const ANSWERS: Record<string, string> = {
  retry: "Try again at the door.",
  leave: "Leave it at the door and take a photo.",
  return: "Bring it back.",
  wait: "Wait.",
};

const REASONS: Record<string, string> = {
  cancelled: "An order was cancelled.",
  unassigned: "An order was taken away from you.",
  silent: "An order went to another driver: you were out of contact for too long.",
  collected: "Another driver has the parcels of an order.",
  transferred: "The other driver has taken over.",
  held: "An order is on hold; continue with the rest.",
  handed_over: "The shop has confirmed the handover.",
  updated: "An order has changed.",
  assigned: "You were given another order.",
};

function endOf(reason: Stopped): string {
  if (reason.closeCode === 4507) return "You are signed in on another phone. This one has stopped.";
  if (reason.closeCode === 4503) return "This token is not for a driver of this market.";
  return reason.byApp ? "" : "This version of the app is not accepted. Reload the page.";
}
