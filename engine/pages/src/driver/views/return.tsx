/** Bringing parcels back: where to, until when, and the receipt. */

import type { HeldJob } from "@mallard/client";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Button, Card, Dialog, Field } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { clock, count, placeName } from "../../shared/words.ts";
import type { DriverApp } from "../app.ts";
import { directions } from "../run.ts";
import { ProofForm } from "./proof.tsx";

export function Return({ app, job }: { app: DriverApp; job: HeldJob }): JSX.Element {
  const to = job.detail.return_to;
  const [asked, setAsked] = useState<"no" | "code" | "photo">("no");
  const [code, setCode] = useState("");
  const offsetMs = Date.now() - app.serverNowMs();
  const shop = job.detail.stores.find((it) => it.store === to?.store)?.name ?? to?.store;
  const said = app.outbox.returns.value.find((it) => it.job === job.job && it.isDoubted);
  const mall = to?.mall === job.detail.mall.id ? job.detail.mall.name : placeName(to?.mall ?? "");
  const close = (): void => setAsked("no");
  return (
    <Card tabIndex={-1} aria-label="Bring back">
      <p class="stop-kind stop-kind-back">Bring back</p>
      <h2 class="stop-title breaks">{to ? (to.kind === "station" ? `Station: ${mall}` : `${shop}, ${mall}`) : "Return place not decided yet"}</h2>
      <p class="muted">
        {count(job.detail.parcels.count, "parcel")} of {job.detail.external_id ?? "an order"}
        {to?.open_until ? <> · open until {clock(to.open_until + offsetMs, now.value)}</> : null}
      </p>
      {said ? (
        <p class="notice notice-info" role="status">
          You reported this at {clock(said.atMs + offsetMs, now.value)}. It counts once your position shows that you were there; the report is repeated automatically.
        </p>
      ) : null}
      <div class="stop-actions">
        {to ? <a class="button button-large" href={directions(to.lat, to.lon)} target="_blank" rel="noreferrer">Navigate</a> : null}
        <Button kind="primary" size="large" disabled={!to} busy={app.isBusy.value} onClick={() => setAsked("code")}>Parcels returned</Button>
        <Button size="large" kind="quiet" onClick={() => app.step(job, "resume", { at_ms: Date.now() })}>The customer wants it after all</Button>
      </div>
      {asked === "code" ? (
        <Dialog title="Return code" onClose={close}>
          <form
            class="choices"
            onSubmit={(event) => {
              event.preventDefault();
              close();
              void app.handover({ job: job.job, step: "returned", proofs: [{ kind: "code", value: code.trim() }] });
            }}
          >
            <Field label="Code" hint="The shop has it on its screen." inputMode="numeric" autocomplete="off" required value={code} onInput={(event) => setCode(event.currentTarget.value)} />
            <Button type="submit" kind="primary" size="large">Hand over</Button>
            <Button size="large" onClick={() => setAsked("photo")}>No code? Take a photo</Button>
            <Button size="large" kind="quiet" onClick={close}>Back</Button>
          </form>
        </Dialog>
      ) : null}
      {asked === "photo" ? (
        <ProofForm
          wanted={["photo"]}
          action="Parcels returned"
          draft={app.drafts.of(job.job, "returned")}
          onDraft={(change) => app.drafts.change(job.job, "returned", change)}
          onClose={close}
          onDone={(proofs) => {
            close();
            void app.handover({ job: job.job, step: "returned", proofs });
          }}
        />
      ) : null}
    </Card>
  );
}
