/**
 * Proofs that a driver has begun to give: a dialog that closes, an offer that comes over it or a
 * reload must not cost a second photo.
 *
 * A draft lasts until the engine has taken its order from the driver. It is kept on the device too,
 * but not while the outbox has its images there. It is personal: it goes with its order, when the
 * driver signs out, and after a day.
 */

import { signal } from "@preact/signals";
import type { Handover } from "./outbox.ts";

const LONGEST_MS = 86_400_000;
/** A photo takes some 400 KB of a storage of 5 MB, which the outbox needs as well. */
const MOST_KEPT = 3;

/** `photo`, `signature`: data URLs. */
export interface Draft {
  isOld?: boolean;
  pin?: string;
  photo?: string | null;
  signature?: string | null;
}

type Step = Handover["step"];

interface Kept {
  job: string;
  /** The photo of a door proves no return. */
  step: Step;
  draft: Draft;
  savedMs: number;
}

/** `isGiven`: the driver has reported it, so the outbox or the client keeps it. */
type Entry = Kept & { isGiven?: boolean };

export class Drafts {
  /** The latest change last. */
  private readonly entries = signal<readonly Entry[]>([]);
  private isOver = false;

  constructor(
    private readonly key: string,
    private readonly area: Pick<Storage, "getItem" | "setItem" | "removeItem"> = localStorage,
    nowMs = Date.now(),
  ) {
    this.entries.value = read(area.getItem(key)).filter((it) => Math.abs(nowMs - it.savedMs) < LONGEST_MS);
  }

  of(job: string, step: Step): Draft {
    return this.entries.value.find((it) => it.job === job && it.step === step)?.draft ?? {};
  }

  has(job: string): boolean {
    return this.entries.value.some((it) => it.job === job);
  }

  change(job: string, step: Step, change: Draft, nowMs = Date.now()): void {
    if (this.isOver) return;
    const others = this.entries.value.filter((it) => it.job !== job || it.step !== step);
    this.keep([...others, { job, step, draft: { ...this.of(job, step), ...change }, savedMs: nowMs }]);
  }

  /** The driver has reported it. */
  give(job: string, step: Step): void {
    this.mark(job, step, true);
  }

  /** The report was refused: the driver goes on with what it had given. */
  takeBack(job: string, step: Step): void {
    this.mark(job, step, false);
  }

  keepOnly(isHeld: (job: string) => boolean): void {
    const held = this.entries.value.filter((it) => isHeld(it.job));
    if (held.length < this.entries.value.length) this.keep(held);
  }

  /** Forgets all, for good: a photo may still be on its way from the camera. */
  end(): void {
    this.isOver = true;
    this.keep([]);
  }

  private mark(job: string, step: Step, isGiven: boolean): void {
    const isMeant = (it: Entry): boolean => it.job === job && it.step === step;
    if (this.entries.value.some(isMeant)) this.keep(this.entries.value.map((it) => (isMeant(it) ? { ...it, isGiven } : it)));
  }

  private keep(entries: readonly Entry[]): void {
    this.entries.value = entries;
    const kept = entries.filter((it) => !it.isGiven).slice(-MOST_KEPT);
    try {
      if (kept.length === 0) this.area.removeItem(this.key);
      else this.area.setItem(this.key, JSON.stringify(kept));
    } catch {
      // A full storage: the page still has them.
    }
  }
}

function read(text: string | null): Kept[] {
  try {
    const found: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(found) ? found.filter((it) => typeof it?.job === "string" && typeof it.draft === "object" && it.draft !== null) : [];
  } catch {
    return [];
  }
}
