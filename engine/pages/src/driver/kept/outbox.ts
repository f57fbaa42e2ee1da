/**
 * Handovers that the client alone does not bring to their end. All are kept in the device's storage,
 * so that a killed tab loses none. Times are by the server's clock.
 *
 * - With an image: it is uploaded before it can be named in a report.
 * - A return: the engine believes it once it has seen the driver at the place. A fix may come late, so
 *   the return is said again until then.
 */

import { signal } from "@preact/signals";

export type GivenProof = { kind: "code"; value: string } | { kind: "age_checked" } | { kind: "photo" | "signature"; image: string };

export interface Handover {
  job: string;
  step: "delivered" | "returned";
  atMs: number;
  proofs: GivenProof[];
}

/** A proof as a report names it. */
export interface Proof {
  kind: string;
  value?: string;
}

/** A return that was said. */
export interface SaidReturn {
  job: string;
  atMs: number;
  proofs: readonly Proof[];
  /** The engine has not seen the driver at the place yet. */
  isDoubted: boolean;
}

/** Uploads an image; returns its id. */
type Upload = (image: Blob) => Promise<string>;
/** Reports a step with one proof, or none. */
type Report = (handover: Pick<Handover, "job" | "step" | "atMs">, proof: Proof | undefined) => void;

export class Outbox {
  readonly waiting = signal<readonly Handover[]>([]);
  readonly returns = signal<readonly SaidReturn[]>([]);
  private isSending = false;

  constructor(
    private readonly key: string,
    private readonly upload: Upload,
    private readonly report: Report,
    private readonly area: Pick<Storage, "getItem" | "setItem" | "removeItem"> = localStorage,
  ) {
    this.waiting.value = read<Handover>(area.getItem(key));
    this.returns.value = read<SaidReturn>(area.getItem(this.returnsKey));
  }

  /** Report a handover: at once if it has no image, else as soon as its images are uploaded. */
  async add(handover: Handover): Promise<void> {
    if (!handover.proofs.some((it) => "image" in it)) {
      this.reportAll(handover, handover.proofs);
      return;
    }
    this.keep([...this.waiting.value, handover]);
    await this.send();
  }

  /** Try what waits, the oldest first; stops at the first that fails. */
  async send(): Promise<void> {
    if (this.isSending) return;
    this.isSending = true;
    try {
      for (let first = this.waiting.value[0]; first; first = this.waiting.value[0]) {
        const proofs: Proof[] = [];
        for (const proof of first.proofs)
          proofs.push("image" in proof ? { kind: proof.kind, value: await this.upload(blobOf(proof.image)) } : proof);
        this.reportAll(first, proofs);
        this.keep(this.waiting.value.slice(1));
      }
    } finally {
      this.isSending = false;
    }
  }

  /** Drop an order whose photo or signature the engine refuses: it waits no longer. */
  drop(job: string): void {
    this.keep(this.waiting.value.filter((it) => it.job !== job));
  }

  /** The engine has answered a return: it is over, unless the driver is only not believed yet. */
  returnSettled(job: string, refusal: string | undefined): void {
    const isDoubted = refusal === "no_position";
    this.keepReturns(this.returns.value.flatMap((it) => (it.job !== job ? [it] : isDoubted ? [{ ...it, isDoubted }] : [])));
  }

  /** Says the returns again that nobody has answered or believed; forgets those of other orders. */
  sayAgain(isReturning: (job: string) => boolean, isQueued: (job: string) => boolean): void {
    this.keepReturns(this.returns.value.filter((it) => isReturning(it.job)));
    for (const said of this.returns.value) if (!isQueued(said.job)) this.report({ ...said, step: "returned" }, said.proofs[0]);
  }

  private reportAll(handover: Handover, proofs: readonly Proof[]): void {
    const { job, atMs, step } = handover;
    if (step === "returned") this.keepReturns([...this.returns.value.filter((it) => it.job !== job), { job, atMs, proofs, isDoubted: false }]);
    if (proofs.length === 0) this.report(handover, undefined);
    for (const proof of proofs) this.report(handover, proof);
  }

  private keep(waiting: readonly Handover[]): void {
    this.waiting.value = waiting;
    this.write(this.key, waiting);
  }

  private keepReturns(returns: readonly SaidReturn[]): void {
    if (returns.length + this.returns.value.length === 0) return;
    this.returns.value = returns;
    this.write(this.returnsKey, returns);
  }

  private get returnsKey(): string {
    return `${this.key}.returns`;
  }

  private write(key: string, list: readonly unknown[]): void {
    if (list.length === 0) this.area.removeItem(key);
    else this.area.setItem(key, JSON.stringify(list));
  }
}

function read<T>(text: string | null): readonly T[] {
  if (text === null) return [];
  try {
    const found: unknown = JSON.parse(text);
    return Array.isArray(found) ? (found as T[]) : [];
  } catch {
    return [];
  }
}

export function blobOf(dataUrl: string): Blob {
  const [head = "", body = ""] = dataUrl.split(",", 2);
  const bytes = Uint8Array.from(atob(body), (it) => it.charCodeAt(0));
  return new Blob([bytes], { type: /^data:([^;]+)/.exec(head)?.[1] ?? "image/jpeg" });
}
