/**
 * Deliveries whose proofs wait for the line: an image is uploaded before it can be named in a report.
 *
 * Kept in the device's storage, so that a killed tab loses no proof. A report without an image needs
 * none of this: the client keeps it.
 */

import { signal } from "@preact/signals";

export type GivenProof = { kind: "code"; value: string } | { kind: "age_checked" } | { kind: "photo" | "signature"; image: string };

export interface Handover {
  job: string;
  step: "delivered" | "returned";
  atMs: number;
  proofs: GivenProof[];
}

/** Uploads an image; returns its id. */
type Upload = (image: Blob) => Promise<string>;
/** Reports a step with one proof, or none. */
type Report = (handover: Handover, proof: { kind: string; value?: string } | undefined) => void;

export class Outbox {
  readonly waiting = signal<readonly Handover[]>([]);
  private isSending = false;

  constructor(
    private readonly key: string,
    private readonly upload: Upload,
    private readonly report: Report,
    private readonly area: Pick<Storage, "getItem" | "setItem" | "removeItem"> = localStorage,
  ) {
    this.waiting.value = read(area.getItem(key));
  }

  /** Report a handover: at once if it has no image, else as soon as its images are uploaded. */
  async add(handover: Handover): Promise<void> {
    if (!handover.proofs.some((it) => "image" in it)) {
      this.tell(handover, handover.proofs);
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
        const proofs: { kind: string; value?: string }[] = [];
        for (const proof of first.proofs)
          proofs.push("image" in proof ? { kind: proof.kind, value: await this.upload(blobOf(proof.image)) } : proof);
        this.tell(first, proofs);
        this.keep(this.waiting.value.slice(1));
      }
    } finally {
      this.isSending = false;
    }
  }

  /** Drop what waits for an order that is no longer held. */
  drop(job: string): void {
    this.keep(this.waiting.value.filter((it) => it.job !== job));
  }

  private tell(handover: Handover, proofs: readonly { kind: string; value?: string }[]): void {
    if (proofs.length === 0) this.report(handover, undefined);
    for (const proof of proofs) this.report(handover, proof);
  }

  private keep(waiting: readonly Handover[]): void {
    this.waiting.value = waiting;
    if (waiting.length === 0) this.area.removeItem(this.key);
    else this.area.setItem(this.key, JSON.stringify(waiting));
  }
}

function read(text: string | null): readonly Handover[] {
  if (text === null) return [];
  try {
    const found: unknown = JSON.parse(text);
    return Array.isArray(found) ? (found as Handover[]) : [];
  } catch {
    return [];
  }
}

export function blobOf(dataUrl: string): Blob {
  const [head = "", body = ""] = dataUrl.split(",", 2);
  const bytes = Uint8Array.from(atob(body), (it) => it.charCodeAt(0));
  return new Blob([bytes], { type: /^data:([^;]+)/.exec(head)?.[1] ?? "image/jpeg" });
}
