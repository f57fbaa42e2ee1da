/**
 * What the driver has asked for and the engine has not answered: an answer to an offer, its wish, a
 * problem.
 *
 * The client repeats a request for some seconds and forgets it when the tab is killed. These are kept
 * in the device's storage and repeated until the engine has answered or they are of no use any more.
 * All of them may be repeated: an answer to an offer gets the first answer again, a problem of an
 * open order is one problem, and an attempt that is over has no effect. Times are by the server's
 * clock, as the device's may be set meanwhile.
 */

import { NoAnswer, RequestRefused } from "@mallard/client";
import { signal } from "@preact/signals";

export type Wish = "available" | "paused" | "offline";

export type Asked =
  | { kind: "accept"; offer: string; untilMs: number }
  | { kind: "decline"; offer: string; untilMs: number; reason?: string }
  | { kind: "status"; wish: Wish; untilMs: number | null }
  | { kind: "problem"; what: string; job?: string; attempt?: number; store?: string; atMs: number; untilMs: number | null };

export interface World {
  /**
   * Whether the engine can be asked now; what is held is known only then. The client is given a wish
   * before: once connected it would repeat an older one.
   */
  readonly isConnected: boolean;
  readonly nowMs: number;
  isHeld(job: string): boolean;
  /** Whether a step of the job from before that time has not been answered yet. */
  isStepWaiting(job: string, beforeMs: number): boolean;
  /** Asks the engine; rejects with what the client does. */
  ask(asked: Asked): Promise<unknown>;
  refused(asked: Asked, refusal: RequestRefused): void;
  /** It was given up without being sent, as it is of no use any more. */
  tooLate(asked: Asked): void;
}

type Area = Pick<Storage, "getItem" | "setItem" | "removeItem">;

export class Requests {
  readonly waiting = signal<readonly Asked[]>([]);
  private readonly asking = new Set<Asked>();

  constructor(
    private readonly key: string,
    private readonly world: World,
    private readonly area: Area = localStorage,
  ) {
    this.waiting.value = read(area.getItem(key));
  }

  /** Keeps a request until it is answered, and asks. Resolves once it was tried. */
  async add(asked: Asked): Promise<void> {
    this.keep([...this.waiting.value.filter((it) => !replaces(asked, it)), asked]);
    const tried = this.try(asked);
    if (this.world.isConnected) await tried;
  }

  /** Asks for all that waits, the oldest first. */
  async send(): Promise<void> {
    await Promise.all(this.waiting.value.map((it) => this.try(it)));
  }

  private async try(asked: Asked): Promise<void> {
    const { world } = this;
    if (this.asking.has(asked) || (!world.isConnected && asked.kind !== "status")) return;
    if (isOver(asked, world)) {
      this.drop(asked);
      world.tooLate(asked);
      return;
    }
    // A problem belongs to what the driver did before: that comes first.
    if (asked.kind === "problem" && asked.job !== undefined && world.isStepWaiting(asked.job, asked.atMs)) return;
    this.asking.add(asked);
    let isUnanswered = false;
    try {
      await world.ask(asked);
      this.drop(asked);
    } catch (error) {
      // Anything else is no answer: it stays.
      if (error instanceof RequestRefused && !error.retry) {
        this.drop(asked);
        world.refused(asked, error);
      } else if (error instanceof NoAnswer) {
        isUnanswered = true;
      }
    } finally {
      this.asking.delete(asked);
    }
    const isWish = asked.kind === "status" && this.waiting.value.includes(asked);
    if (isUnanswered && isWish && !world.isConnected) await this.try(asked);
  }

  private drop(asked: Asked): void {
    this.keep(this.waiting.value.filter((it) => it !== asked));
  }

  private keep(waiting: readonly Asked[]): void {
    this.waiting.value = waiting;
    if (waiting.length === 0) this.area.removeItem(this.key);
    else this.area.setItem(this.key, JSON.stringify(waiting));
  }
}

/** A later wish, or answer to the same offer, stands instead of an earlier one. */
function replaces(later: Asked, earlier: Asked): boolean {
  if (later.kind === "status") return earlier.kind === "status";
  return "offer" in later && "offer" in earlier && later.offer === earlier.offer;
}

function isOver(asked: Asked, world: World): boolean {
  if (asked.untilMs !== null && world.nowMs >= asked.untilMs) return true;
  return asked.kind === "problem" && asked.job !== undefined && !world.isHeld(asked.job);
}

function read(text: string | null): readonly Asked[] {
  try {
    const found: unknown = JSON.parse(text ?? "[]");
    return Array.isArray(found) ? found.filter((it) => KINDS.has(it?.kind)) : [];
  } catch {
    return [];
  }
}

const KINDS = new Set<unknown>(["accept", "decline", "status", "problem"]);
