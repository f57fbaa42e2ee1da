/** Meeting another driver to take parcels over. */

import type { HeldJob } from "@mallard/client";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Button, Card, Dialog, Field } from "../../shared/components.tsx";
import { count } from "../../shared/words.ts";
import type { DriverApp } from "../app.ts";
import { directions } from "../run.ts";

export function Meeting({ app, job }: { app: DriverApp; job: HeldJob }): JSX.Element {
  const [isAsked, setAsked] = useState(false);
  const [code, setCode] = useState("");
  const at = job.detail.mall;
  return (
    <Card tabIndex={-1} aria-label="Meet a driver">
      <p class="stop-kind">Take over</p>
      <h2 class="stop-title">From another driver</h2>
      <p class="muted">{count(job.detail.carries?.length ?? job.detail.parcels.count, "order")} on board. Ask for the code, count the parcels, then confirm that you have them.</p>
      <div class="stop-actions">
        <a class="button button-large" href={directions(at.gate_lat, at.gate_lon)} target="_blank" rel="noreferrer">Navigate</a>
        <Button kind="primary" size="large" onClick={() => setAsked(true)}>I have the parcels</Button>
        <Button size="large" kind="quiet" onClick={() => app.step(job, "give_up")}>I cannot</Button>
      </div>
      {isAsked ? (
        <Dialog title="The other driver’s code" onClose={() => setAsked(false)}>
          <form
            class="choices"
            onSubmit={(event) => {
              event.preventDefault();
              setAsked(false);
              app.step(job, "picked_up", { proof: { kind: "code", value: code.trim() } });
            }}
          >
            <Field label="Code" inputMode="numeric" autocomplete="off" required value={code} onInput={(event) => setCode(event.currentTarget.value)} />
            <Button type="submit" kind="primary" size="large">Take over</Button>
            <Button size="large" kind="quiet" onClick={() => setAsked(false)}>Back</Button>
          </form>
        </Dialog>
      ) : null}
    </Card>
  );
}
