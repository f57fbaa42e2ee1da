/**
 * The counter's reports that the engine has not received yet.
 *
 * Every call of a counter may be repeated, so whatever got no answer is sent again, in order, until
 * the engine answers. The queue is kept in the session storage: a reload loses nothing.
 */

import { signal, type Signal } from "@preact/signals";
import { ApiError, NoAnswer } from "../shared/api.ts";

export interface Report {
  id: number;
  /** The job that it is about; null for the shop's hours. */
  job: string | null;
  /** What it says, for people: “ORD-1: ready”. */
  text: string;
  path: string;
  body: unknown;
}

type Send = (path: string, body: unknown) => Promise<unknown>;
type Storage = Pick<globalThis.Storage, "getItem" | "setItem">;

const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 15_000;

export class ReportQueue {
  readonly waiting: Signal<readonly Report[]>;
  #isSending = false;
  #isStopped = false;
  #retryMs = FIRST_RETRY_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly send: Send,
    private readonly refused: (report: Report, error: ApiError) => void,
    private readonly done: (report: Report) => void,
    private readonly storage: Storage,
    private readonly key: string,
  ) {
    this.waiting = signal(read(storage, key));
  }

  add(report: Omit<Report, "id">): void {
    const last = this.waiting.value.at(-1)?.id ?? 0;
    this.#keep([...this.waiting.value, { ...report, id: last + 1 }]);
    void this.flush();
  }

  /** Sends what waits, now; called when the line may be back. */
  async flush(): Promise<void> {
    if (this.#isSending || this.#isStopped) return;
    clearTimeout(this.#timer);
    this.#isSending = true;
    try {
      for (let report = this.waiting.value[0]; report; report = this.waiting.value[0]) {
        try {
          await this.send(report.path, report.body);
          this.#drop(report);
          this.done(report);
        } catch (error) {
          if (isTemporary(error)) return this.#later(error);
          this.#drop(report);
          if (error instanceof ApiError) this.refused(report, error);
          else throw error;
        }
      }
    } finally {
      this.#isSending = false;
    }
  }

  /** Sends nothing more; what waits stays kept. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #later(error: unknown): void {
    const asked = error instanceof ApiError ? error.retryAfterS : null;
    const wait = asked === null ? this.#retryMs : asked * 1000;
    this.#retryMs = Math.min(2 * this.#retryMs, LAST_RETRY_MS);
    if (!this.#isStopped) this.#timer = setTimeout(() => void this.flush(), wait);
  }

  #drop(report: Report): void {
    this.#retryMs = FIRST_RETRY_MS;
    this.#keep(this.waiting.value.filter((it) => it.id !== report.id));
  }

  #keep(reports: readonly Report[]): void {
    this.waiting.value = reports;
    this.storage.setItem(this.key, JSON.stringify(reports));
  }
}

/** Whether the same report can be sent later; if signed out, after the next sign-in. */
function isTemporary(error: unknown): boolean {
  if (error instanceof ApiError) return error.isTemporary || error.status === 401;
  return error instanceof NoAnswer;
}

function read(storage: Storage, key: string): Report[] {
  try {
    const kept = JSON.parse(storage.getItem(key) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}
