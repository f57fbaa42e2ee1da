/** What the customer or the order asks for before a parcel changes hands. */

import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button, Dialog, Field } from "../../shared/components.tsx";
import type { Draft } from "../kept/drafts.ts";
import type { GivenProof } from "../kept/outbox.ts";

// A phone's photo has 4 MB; a parcel at a door is recognisable with far less.
const LONGEST_SIDE_PX = 1280;
const JPEG_QUALITY = 0.8;

interface Props {
  /** Of `pin`, `photo`, `signature`, `age_check`. */
  wanted: readonly string[];
  /** What the button reports. */
  action: string;
  /** What was given before. */
  draft: Draft;
  onDraft: (change: Draft) => void;
  onDone: (proofs: GivenProof[]) => void;
  onClose: () => void;
}

export function ProofForm({ wanted, action, draft, onDraft, onDone, onClose }: Props): JSX.Element {
  const { pin = "", photo = null, signature = null, isOld = false } = draft;
  const [fault, setFault] = useState<string | null>(null);
  const asks = (kind: string): boolean => wanted.includes(kind);
  const isComplete =
    (!asks("pin") || pin.trim() !== "") && (!asks("photo") || photo !== null) && (!asks("signature") || signature !== null) && (!asks("age_check") || isOld);
  const done = (): void => {
    const proofs: GivenProof[] = [];
    if (asks("age_check")) proofs.push({ kind: "age_checked" });
    if (asks("photo") && photo !== null) proofs.push({ kind: "photo", image: photo });
    if (asks("signature") && signature !== null) proofs.push({ kind: "signature", image: signature });
    // Last: a wrong PIN leaves the other proofs given.
    if (asks("pin")) proofs.push({ kind: "code", value: pin.trim() });
    onDone(proofs);
  };
  return (
    <Dialog title="Before you hand it over" onClose={onClose}>
      <form
        class="choices"
        onSubmit={(event) => {
          event.preventDefault();
          if (isComplete) done();
        }}
      >
        {asks("age_check") ? (
          <label class="check">
            <input type="checkbox" checked={isOld} onChange={(event) => onDraft({ isOld: event.currentTarget.checked })} />
            <span>I have seen an ID; the person is old enough</span>
          </label>
        ) : null}
        {asks("pin") ? (
          <Field label="The customer’s PIN" inputMode="numeric" autocomplete="off" required value={pin} onInput={(event) => onDraft({ pin: event.currentTarget.value })} />
        ) : null}
        {asks("photo") ? (
          <label class="photo">
            <span class="button button-large">{photo === null ? "Take a photo" : "Take another photo"}</span>
            <input
              type="file"
              accept="image/*"
              capture="environment"
              class="visually-hidden"
              onChange={(event) => {
                const file = event.currentTarget.files?.[0];
                if (!file) return;
                shrink(file).then(
                  (image) => {
                    setFault(null);
                    onDraft({ photo: image });
                  },
                  () => {
                    setFault("This file is not a photo.");
                    onDraft({ photo: null });
                  },
                );
              }}
            />
            {/* It has its place from the start: what is under a finger must not move. */}
            <span class={`photo-frame ${fault === null ? "" : "photo-fault"}`}>
              {fault !== null ? (
                <span role="alert">{fault}</span>
              ) : photo !== null ? (
                <img src={photo} alt="The photo" />
              ) : (
                "No photo yet"
              )}
            </span>
          </label>
        ) : null}
        {asks("signature") ? <SignaturePad drawn={signature} onChange={(image) => onDraft({ signature: image })} /> : null}
        <div class="proof-actions">
          <Button size="large" kind="quiet" onClick={onClose}>Back</Button>
          <Button type="submit" kind="primary" size="large" disabled={!isComplete}>{action}</Button>
        </div>
      </form>
    </Dialog>
  );
}

function SignaturePad({ drawn, onChange }: { drawn: string | null; onChange: (image: string | null) => void }): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const element = canvas.current;
    const pen = element?.getContext("2d");
    if (!element || !pen) return;
    blank(element, pen);
    if (drawn !== null) {
      const before = new Image();
      before.onload = () => pen.drawImage(before, 0, 0);
      before.src = drawn;
    }
    let isDown = false;
    const at = (event: PointerEvent): [number, number] => {
      const box = element.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * element.width, ((event.clientY - box.top) / box.height) * element.height];
    };
    const down = (event: PointerEvent): void => {
      isDown = true;
      element.setPointerCapture(event.pointerId);
      pen.beginPath();
      pen.moveTo(...at(event));
    };
    const move = (event: PointerEvent): void => {
      if (!isDown) return;
      pen.lineTo(...at(event));
      pen.stroke();
    };
    const up = (): void => {
      if (isDown) onChange(element.toDataURL("image/png"));
      isDown = false;
    };
    element.addEventListener("pointerdown", down);
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", up);
    element.addEventListener("pointercancel", up);
    return () => {
      element.removeEventListener("pointerdown", down);
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", up);
      element.removeEventListener("pointercancel", up);
    };
  }, []);
  return (
    <div class="signature">
      <p>Sign here</p>
      <canvas ref={canvas} width={600} height={220} aria-label="Signature field" />
      <Button
        size="small"
        kind="quiet"
        onClick={() => {
          const pen = canvas.current?.getContext("2d");
          if (canvas.current && pen) blank(canvas.current, pen);
          onChange(null);
        }}
      >
        Clear
      </Button>
    </div>
  );
}

function blank(element: HTMLCanvasElement, pen: CanvasRenderingContext2D): void {
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, element.width, element.height);
  pen.strokeStyle = "#14201b";
  pen.lineWidth = 4;
  pen.lineCap = "round";
  pen.lineJoin = "round";
}

/** Returns a photo as a small JPEG, a data URL. Drawing it again also drops the place where it was taken. */
async function shrink(file: Blob): Promise<string> {
  const image = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_SIDE_PX / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(image.width * scale);
  canvas.height = Math.round(image.height * scale);
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  image.close();
  return canvas.toDataURL("image/jpeg", JPEG_QUALITY);
}
