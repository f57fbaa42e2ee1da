/** At the customer's door: who, where, what is asked for, and what goes wrong. */

import type { HeldJob } from "@mallard/client";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Button, Card, Dialog } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { clock, count, until } from "../../shared/words.ts";
import type { DriverApp } from "../app.ts";
import type { GivenProof } from "../kept/outbox.ts";
import { directions, proofsWanted } from "../run.ts";
import { Emergency } from "./emergency.tsx";
import { ProofForm } from "./proof.tsx";

/** What the engine calls a driver who has no alias. */
const UNNAMED = "driver";

const TROUBLES = [
  ["customer_unreachable", "No one answers"],
  ["refused", "The customer refuses it"],
  ["wrong_address", "The address is wrong"],
] as const;

export function Door({ app, job }: { app: DriverApp; job: HeldJob }): JSX.Element {
  const { dropoff, transfer } = job.detail;
  const [asked, setAsked] = useState<"no" | "proof" | "trouble" | "breakdown" | "return">("no");
  const [isThere, setThere] = useState([...app.taken.value, ...app.queued.value].some((it) => it.job === job.job && it.step === "at_door"));
  const offsetMs = Date.now() - app.serverNowMs();
  const due = dropoff.deadline_ms + offsetMs;
  const wanted = proofsWanted(job);
  const answer = app.answers.value.get(job.job);
  const mustLeave = job.detail.answer?.action === "leave";
  const close = (): void => setAsked("no");
  const deliver = (proofs: GivenProof[]): void => {
    close();
    void app.handover({ job: job.job, step: "delivered", proofs });
  };
  const needed = mustLeave ? [...new Set([...wanted.filter((it) => it !== "pin" && it !== "signature"), "photo"])] : wanted;
  const action = mustLeave ? "Left at the door" : "Delivered";
  return (
    <Card tabIndex={-1} aria-label="Deliver">
      <p class="stop-kind">Deliver</p>
      <h2 class="stop-title breaks">{dropoff.name ?? "Customer"}</h2>
      <p class="stop-address breaks">{dropoff.address ?? `${dropoff.lat.toFixed(5)}, ${dropoff.lon.toFixed(5)}`}</p>
      <p class={due < now.value ? "overdue" : "muted"}>
        {count(job.detail.parcels.count, "parcel")} · by {clock(due, now.value)} ({until(due, now.value)})
      </p>
      {dropoff.note ? <p class="note breaks">{dropoff.note}</p> : null}
      {answer ? <p class="notice notice-info breaks" role="status">The order service says: {answer}</p> : null}
      {transfer ? (
        <p class="notice notice-warn">
          {transfer.alias && transfer.alias !== UNNAMED ? transfer.alias : "Another driver"} will take this over{transfer.eta ? <> at about {clock(transfer.eta + offsetMs, now.value)}</> : null}. Hand the parcels over only against this
          code: <strong class="code">{transfer.code}</strong>
        </p>
      ) : null}
      <div class="stop-actions stop-pair">
        <a class="button button-large" href={directions(dropoff.lat, dropoff.lon)} target="_blank" rel="noreferrer">Navigate</a>
        {dropoff.contact ? <a class="button button-large" href={contactLink(dropoff.contact)}>Call</a> : null}
      </div>
      <div class="stop-actions">
        {isThere ? null : (
          <Button
            size="large"
            onClick={() => {
              setThere(true);
              app.step(job, "at_door", { at_ms: Date.now() });
            }}
          >
            I am at the door
          </Button>
        )}
        <Button kind="primary" size="large" onClick={() => (needed.length > 0 ? setAsked("proof") : deliver([]))}>
          {action}
        </Button>
        <Button size="large" onClick={() => setAsked("trouble")}>Cannot deliver</Button>
      </div>
      {asked === "proof" ? (
        <ProofForm
          wanted={needed}
          action={action}
          draft={app.drafts.of(job.job, "delivered")}
          onDraft={(change) => app.drafts.change(job.job, "delivered", change)}
          onClose={close}
          onDone={deliver}
        />
      ) : null}
      {asked === "trouble" ? (
        <Dialog title="What went wrong?" onClose={close}>
          <div class="choices">
            {TROUBLES.map(([kind, words]) => (
              <Button
                key={kind}
                size="large"
                onClick={() => {
                  close();
                  setThere(true);
                  void app.problem(kind, { job: job.job, attempt: job.attempt });
                }}
              >
                {words}
              </Button>
            ))}
            <Button size="large" onClick={() => setAsked("breakdown")}>My vehicle has broken down</Button>
            <Button size="large" onClick={() => setAsked("return")}>Bring it back</Button>
            <Button size="large" kind="quiet" onClick={close}>Back</Button>
          </div>
        </Dialog>
      ) : null}
      {asked === "breakdown" ? <Emergency app={app} kind="breakdown" onClose={close} /> : null}
      {asked === "return" ? (
        <Dialog title="Bring it back?" onClose={close}>
          <p>The order goes back to its shop. Do this only if it cannot be delivered.</p>
          <div class="choices">
            <Button
              size="large"
              kind="danger"
              onClick={() => {
                close();
                app.step(job, "returning", { at_ms: Date.now() });
              }}
            >
              Yes, bring it back
            </Button>
            <Button size="large" autofocus onClick={close}>No</Button>
          </div>
        </Dialog>
      ) : null}
    </Card>
  );
}

/** A number is called, anything else is shown: text of an order never becomes another kind of link. */
function contactLink(contact: string): string {
  return `tel:${contact.replace(/[^+0-9*#,]/g, "")}`;
}
