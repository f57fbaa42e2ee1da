/** The counter's state: what the engine says of one shop, and what the counter says to it. */

import { computed, signal } from "@preact/signals";
import { ApiError, inWords, line } from "../shared/api.ts";
import { toast } from "../shared/components.tsx";
import { call, type Session } from "../shared/session.ts";
import { entryOf, isOpen, nameOf } from "./groups.ts";
import { ReportQueue, type Report } from "./queue.ts";
import type { Page, Pickup, Return } from "./types.ts";

const POLL_MS = 5000;
const PAGE = 200;

export type Said = "ready" | "short" | "missing";

export class Counter {
  readonly pickups = signal<readonly Pickup[] | null>(null);
  readonly returns = signal<readonly Return[] | null>(null);
  /** Why the lists cannot be read although the engine answers; null if they can. */
  readonly problem = signal<string | null>(null);
  /** Infinity: closed by another counter. Null: the shop is open. */
  readonly closedUntilMs = signal<number | null>(null);
  readonly queue: ReportQueue;
  /** The reports that wait for the line, by job. */
  readonly unsent = computed(() => {
    const byJob = new Map<string, Report>();
    for (const report of this.queue.waiting.value) if (report.job) byJob.set(report.job, report);
    return byJob;
  });
  readonly #shop: string;
  readonly #closedKey: string;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isStopped = false;

  constructor(session: Session) {
    const names = [session.mall ?? "", session.store ?? ""].map(encodeURIComponent);
    this.#shop = `/v1/stores/${names.join("/")}`;
    this.#closedKey = `mallard.closed.${names.join("/")}`;
    const closed = Number(sessionStorage.getItem(this.#closedKey));
    if (closed > Date.now()) this.closedUntilMs.value = closed;
    this.queue = new ReportQueue(
      (path, body) => call(path, { method: "POST", body }),
      (report, error) => toast(`${report.text}: refused. ${inWords(error)}`, "danger"),
      (report) => toast(`${report.text}.`),
      sessionStorage,
      `mallard.unsent.${names.join("/")}`,
    );
  }

  start(): void {
    addEventListener("online", this.refresh);
    void this.queue.flush();
    void this.refresh();
  }

  stop(): void {
    this.#isStopped = true;
    removeEventListener("online", this.refresh);
    clearTimeout(this.#timer);
    this.queue.stop();
  }

  /** Reads both lists now, and again after a while. */
  readonly refresh = async (): Promise<void> => {
    clearTimeout(this.#timer);
    const closedBefore = this.queue.waiting.value.length === 0 ? this.closedUntilMs.value : undefined;
    try {
      const [pickups, returns] = await Promise.all([
        call<Page<Pickup>>(`${this.#shop}/pickups?limit=${PAGE}`),
        call<Page<Return>>(`${this.#shop}/returns?limit=${PAGE}`),
      ]);
      this.pickups.value = pickups.items;
      this.returns.value = returns.items;
      this.problem.value = null;
      // Not if this counter has closed or opened the shop meanwhile.
      if (closedBefore === this.closedUntilMs.value) this.#readHours(pickups.items);
      if (line.value.isUp) void this.queue.flush();
    } catch (error) {
      if (error instanceof ApiError) this.problem.value = inWords(error);
    } finally {
      if (!this.#isStopped) this.#timer = setTimeout(this.refresh, POLL_MS);
    }
  };

  say(pickup: Pickup, state: Said, more: { parcels?: number; ready_at?: string } = {}): void {
    const what = { ready: "ready", short: `only ${more.parcels} there`, missing: "missing" }[state];
    const text = more.ready_at ? "ready later" : what;
    this.#report(pickup, text, `pickups/${pickup.id}`, { state, ...more });
  }

  /** Hands over against a code; returns what is wrong with it, null if it was taken or is queued. */
  async handOver(pickup: Pickup, code: string): Promise<string | null> {
    const path = `${this.#shop}/pickups/${encodeURIComponent(pickup.id)}/handover`;
    const text = `${nameOf(pickup)}: handed over`;
    // Earlier reports of the same order first.
    if (this.unsent.value.has(pickup.id) || !line.value.isUp) {
      this.queue.add({ job: pickup.id, text, path, body: { code } });
      return null;
    }
    try {
      await call(path, { method: "POST", body: { code } });
    } catch (error) {
      if (error instanceof ApiError && !error.isTemporary) return handoverProblem(error);
      if (error instanceof ApiError && error.status === 429) return handoverProblem(error);
      this.queue.add({ job: pickup.id, text, path, body: { code } });
      return null;
    }
    toast(`${text}.`);
    void this.refresh();
    return null;
  }

  receive(it: Return): void {
    this.#report(it, "received", `returns/${it.id}`, {});
  }

  /** Closes the shop until a time (epoch ms), or opens it again (null). */
  close(untilMs: number | null): void {
    this.closedUntilMs.value = untilMs;
    sessionStorage.setItem(this.#closedKey, String(untilMs ?? 0));
    const body = untilMs === null ? {} : { closed_until: new Date(untilMs).toISOString() };
    const text = untilMs === null ? "The shop is open" : "The shop is closed for now";
    this.queue.add({ job: null, text, path: `${this.#shop}/hours`, body });
    void this.refresh();
  }

  /** Another counter may have closed or opened the shop. The engine does not say until when it is closed. */
  #readHours(pickups: readonly Pickup[]): void {
    const states = new Set(pickups.filter(isOpen).map((it) => entryOf(it).state));
    if (states.has("closed")) this.closedUntilMs.value ??= Infinity;
    else if (states.has("waiting") || states.has("ready")) this.closedUntilMs.value = null;
  }

  #report(it: { id: string; external_id?: string }, text: string, path: string, body: unknown): void {
    this.queue.add({ job: it.id, text: `${nameOf(it)}: ${text}`, path: `${this.#shop}/${path}`, body });
    void this.refresh();
  }
}

function handoverProblem(error: ApiError): string {
  if (error.code === "wrong_code") return "This is not the driver's code. Ask for it again.";
  if (error.status === 429) {
    return "Too many wrong codes. Let the driver confirm the pickup in the app; the code works again in ten minutes.";
  }
  return inWords(error);
}
