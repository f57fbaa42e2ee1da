/**
 * The driver app's state: the client of the SDK, and signals that the views read.
 *
 * The client does all that must be right (one connection, offers, the queue of reports, what is kept
 * over a kill of the tab). This file turns its events into what is on the screen.
 */

import { DriverClient, RequestRefused, Stopped, WebStorage, type DriverEvent, type HeldJob, type OfferMessage, type QueuedReport } from "@mallard/client";
import { signal } from "@preact/signals";
import { ApiError } from "../shared/api.ts";
import { toast } from "../shared/components.tsx";
import { session, signOut, type Session } from "../shared/session.ts";
import { named } from "../shared/words.ts";
import { alarm, hush } from "./alarm.ts";
import { Outbox, type Handover } from "./outbox.ts";
import { takePosition } from "./device.ts";
import { refusals } from "./refusals.ts";

export type Line = { is: "connecting" } | { is: "online"; over: string } | { is: "away"; untilMs: number; why: string } | { is: "stopped"; why: string };

export interface Vehicle {
  kind: "car" | "van" | "bike" | "foot";
  untilMs: number | null;
}

const VERSION = "1";
const UPLOAD_TIMEOUT_MS = 60_000;

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
  /** What the order service has said about an order, newest last. */
  readonly answers = signal<ReadonlyMap<string, string>>(new Map());
  readonly client: DriverClient;
  readonly outbox: Outbox;
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
    this.client.onEvent((event) => this.heard(event));
  }

  start(): void {
    this.client.start();
  }

  async stop(): Promise<void> {
    hush();
    await this.client.stop();
  }

  serverNowMs(): number {
    return this.client.serverNowMs();
  }

  /** The card is on the screen. */
  shown(offer: OfferMessage): void {
    this.client.acknowledge(offer);
  }

  async accept(offer: OfferMessage): Promise<void> {
    await this.attempt(async () => {
      await this.client.accept(offer);
      hush();
    });
  }

  async decline(offer: OfferMessage, reason?: string): Promise<void> {
    hush();
    await this.attempt(() => this.client.decline(offer, reason));
  }

  async goOnline(untilMs: number | null): Promise<void> {
    await this.attempt(() => this.client.status("available", untilMs === null ? {} : { until_ms: untilMs }));
  }

  async pause(): Promise<void> {
    await this.attempt(() => this.client.status("paused"));
  }

  async goOffline(): Promise<void> {
    await this.attempt(() => this.client.status("offline"));
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

  async problem(kind: Parameters<DriverClient["problem"]>[0], fields: Parameters<DriverClient["problem"]>[1] = {}): Promise<boolean> {
    return this.attempt(() => this.client.problem(kind, fields));
  }

  /** What stops the driver. Of a job that it holds, where there is one: a repeat is then one problem. */
  async emergency(kind: "breakdown" | "accident" | "unsafe"): Promise<boolean> {
    const [held] = this.jobs.value;
    // Each breakdown asks for a transfer, also after an earlier one that nobody took.
    const about = held && kind !== "breakdown" ? { job: held.job, attempt: held.attempt } : {};
    return this.problem(kind, { ...about, at_ms: Date.now() });
  }

  /** Hand over with proofs; images are uploaded first, when there is a line. */
  async handover(handover: Handover): Promise<void> {
    // The engine believes a return only from a driver whom it has seen at the place.
    if (handover.step === "returned") await takePosition(this.client);
    await this.outbox.add(handover).catch(() => toast("The photo waits for the line; it is sent by itself."));
  }

  private handOver(handover: Handover, proof: { kind: string; value?: string } | undefined): void {
    const fields = { at_ms: handover.atMs, ...(proof ? { proof: proof as never } : {}) };
    try {
      void this.client.progress(handover.job, handover.step, fields);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "danger");
    }
  }

  private async attempt(act: () => Promise<unknown>): Promise<boolean> {
    this.isBusy.value = true;
    try {
      await act();
      return true;
    } catch (error) {
      if (error instanceof RequestRefused) toast(refusals(error.code, error.message), "danger");
      else if (!(error instanceof Stopped)) toast("No answer yet. Check the line; try again.", "danger");
      return false;
    } finally {
      this.isBusy.value = false;
      this.read();
    }
  }

  private heard(event: DriverEvent): void {
    switch (event.type) {
      case "connecting":
        this.line.value = { is: "connecting" };
        break;
      case "connected":
        this.line.value = { is: "online", over: event.over };
        void this.outbox.send().catch(() => undefined);
        break;
      case "disconnected":
        this.line.value = { is: "away", untilMs: Date.now() + event.reconnectingInS * 1000, why: event.reason };
        break;
      case "ended":
        this.line.value = { is: "stopped", why: endOf(event.reason) };
        if (event.reason.closeCode === 4501) signOut("You were signed out: the token has expired or was revoked.");
        break;
      case "token_trouble":
        signOut("The token has expired. Ask for another one.");
        break;
      case "offer":
        alarm();
        break;
      case "offer_closed":
        hush();
        if (event.why !== "expired") toast(`The offer is gone: ${named(event.why).toLowerCase()}.`);
        break;
      case "job":
        this.told(event.job, event.reason, event.answer);
        break;
      case "report_settled":
        // Of several proofs each but the last is answered so; the next is on its way.
        if (event.refusal?.code === "proof_needed" && this.client.queued.some((it) => it.job === event.job)) break;
        if (event.refusal) {
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

  private told(job: string, reason: string | undefined, answer: { action: string; text?: string } | undefined): void {
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
    this.jobs.value = [...client.jobs.values()];
    for (const [job, detail] of this.details) if (client.jobs.get(job)?.detail !== detail) this.forget(job);
    this.queued.value = [...client.queued];
  }

  /** The engine has sent the job again: its version counts. */
  private forget(job: string): void {
    this.details.delete(job);
    this.taken.value = this.taken.value.filter((it) => it.job !== job);
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

const ANSWERS: Record<string, string> = {
  retry: "Try again at the door.",
  leave: "Leave it at the door and take a photo.",
  return: "Bring it back.",
  wait: "Wait.",
};

const REASONS: Record<string, string> = {
  cancelled: "An order was cancelled.",
  unassigned: "An order was taken off you.",
  silent: "An order went to somebody else: you were silent for too long.",
  collected: "Somebody else has the parcels of an order.",
  transferred: "The other driver has taken over.",
  held: "An order is held; go on with the rest.",
  handed_over: "The shop has handed over.",
  updated: "An order has changed.",
  assigned: "You were given another order.",
};

function endOf(reason: Stopped): string {
  if (reason.closeCode === 4507) return "You are signed in on another phone. This one has stopped.";
  if (reason.closeCode === 4503) return "This token is not for a driver of this market.";
  return reason.byApp ? "" : "The engine does not accept this app. Reload the page.";
}
