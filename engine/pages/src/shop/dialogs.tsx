/** What the counter asks before it says something to the engine. */

import { useState } from "preact/hooks";
import { Button, Dialog, Field } from "../shared/components.tsx";
import { count } from "../shared/words.ts";
import type { Counter } from "./counter.ts";
import { entryOf, meaningOf, nameOf } from "./groups.ts";
import { useScans } from "./scans.ts";
import type { Pickup } from "./types.ts";

const LATER_MIN = [10, 20, 30, 60];

interface Props {
  pickup: Pickup;
  counter: Counter;
  onClose: () => void;
}

/** The driver shows a code; it is typed or scanned here. */
export function HandOverDialog({ pickup, counter, onClose }: Props) {
  const [code, setCode] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);

  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    if (code.trim() === "" || isBusy) return;
    setBusy(true);
    const problem = await counter.handOver(pickup, code.trim());
    setBusy(false);
    if (problem === null) return onClose();
    setError(problem);
    setCode("");
  }

  const parcels = entryOf(pickup).parcels;
  return (
    <Dialog title={`Hand over ${nameOf(pickup)}`} onClose={onClose}>
      <form class="shop-dialog" onSubmit={(event) => void submit(event)}>
        <p class="breaks">
          {count(parcels, "parcel")}
          {pickup.driver && ` for ${pickup.driver.alias}`}. The driver's app shows a code.
        </p>
        <Field
          label="Driver's code"
          autofocus
          autocomplete="off"
          autocapitalize="characters"
          spellcheck={false}
          maxLength={64}
          required
          value={code}
          error={error}
          onInput={(event) => setCode(event.currentTarget.value)}
        />
        <div class="dialog-actions">
          <Button size="large" onClick={onClose}>
            Cancel
          </Button>
          <Button type="submit" kind="primary" size="large" busy={isBusy}>
            Hand over
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

interface ChooseProps {
  code: string;
  candidates: Pickup[];
  counter: Counter;
  /** Another code was scanned. */
  onCode: (code: string) => void;
  onClose: () => void;
}

/**
 * Asks for the order that a code belongs to: trying the code on each order would count as wrong
 * codes. Scanning the same code again changes nothing; scanning an order's number chooses that order.
 */
export function ChooseDialog({ code, candidates, counter, onCode, onClose }: ChooseProps) {
  const [error, setError] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);

  async function choose(pickup: Pickup): Promise<void> {
    if (isBusy) return;
    setBusy(true);
    const problem = await counter.handOver(pickup, code);
    setBusy(false);
    if (problem === null) onClose();
    else setError(problem);
  }

  useScans((text) => {
    const meaning = meaningOf(text, candidates);
    if (meaning.kind === "order") void choose(meaning.pickup);
    else onCode(meaning.code);
  });

  return (
    <Dialog title={`Code ${code}: for which order?`} onClose={onClose}>
      {/* The list has the focus, not an order: the Enter of a repeated scan would choose that order. */}
      <ul class="shop-choices" tabIndex={-1} autofocus>
        {candidates.map((it) => (
          <li key={it.id}>
            <Button size="large" busy={isBusy} onClick={() => void choose(it)}>
              <span class="breaks">{nameOf(it)}</span>
              <span class="muted breaks">
                {count(entryOf(it).parcels, "parcel")}
                {it.driver && `, ${it.driver.alias}`}
              </span>
            </Button>
          </li>
        ))}
      </ul>
      {error && (
        <p class="shop-problem" role="alert">
          {error}
        </p>
      )}
      <div class="dialog-actions">
        <Button size="large" onClick={onClose}>
          Cancel
        </Button>
      </div>
    </Dialog>
  );
}

export function ShortDialog({ pickup, counter, onClose }: Props) {
  const ordered = entryOf(pickup).parcels;
  const [parcels, setParcels] = useState(ordered - 1);
  return (
    <Dialog title={`${nameOf(pickup)}: how many parcels are there?`} onClose={onClose}>
      <p>{count(ordered, "parcel")} ordered. The order decides what happens next: deliver fewer, wait, or cancel.</p>
      <div class="shop-stepper">
        <Button size="large" aria-label="One fewer" busy={parcels <= 1} onClick={() => setParcels(parcels - 1)}>
          −
        </Button>
        <output aria-live="polite">
          <strong>{parcels}</strong> of {ordered}
        </output>
        <Button
          size="large"
          aria-label="One more"
          busy={parcels >= ordered - 1}
          onClick={() => setParcels(parcels + 1)}
        >
          +
        </Button>
      </div>
      <div class="dialog-actions">
        <Button size="large" onClick={onClose}>
          Cancel
        </Button>
        <Button
          kind="primary"
          size="large"
          onClick={() => {
            counter.say(pickup, "short", { parcels });
            onClose();
          }}
        >
          Only {parcels} there
        </Button>
      </div>
    </Dialog>
  );
}

export function MissingDialog({ pickup, counter, onClose }: Props) {
  return (
    <Dialog title={`${nameOf(pickup)}: no parcels at all?`} onClose={onClose}>
      <p>The driver sees this at once. Press “Ready” as soon as the parcels turn up.</p>
      <div class="dialog-actions">
        <Button size="large" onClick={onClose}>
          Cancel
        </Button>
        <Button
          kind="danger"
          size="large"
          onClick={() => {
            counter.say(pickup, "missing");
            onClose();
          }}
        >
          Missing
        </Button>
      </div>
    </Dialog>
  );
}

export function LaterDialog({ pickup, counter, onClose }: Props) {
  return (
    <Dialog title={`${nameOf(pickup)}: ready in …`} onClose={onClose}>
      <div class="shop-later">
        {LATER_MIN.map((minutes) => (
          <Button
            key={minutes}
            size="large"
            onClick={() => {
              const readyAt = new Date(Date.now() + minutes * 60_000).toISOString();
              counter.say(pickup, "ready", { ready_at: readyAt });
              onClose();
            }}
          >
            {minutes} min
          </Button>
        ))}
      </div>
      <div class="dialog-actions">
        <Button size="large" onClick={onClose}>
          Cancel
        </Button>
      </div>
    </Dialog>
  );
}
