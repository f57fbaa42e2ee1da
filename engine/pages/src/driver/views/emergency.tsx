/** What may happen anywhere on the way: a breakdown, an accident, a danger. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Button, Dialog } from "../../shared/components.tsx";
import type { DriverApp } from "../app.ts";

type Kind = "breakdown" | "accident" | "unsafe";

const KINDS: Record<Kind, { name: string; title: string; yes: string }> = {
  breakdown: { name: "My vehicle has broken down", title: "Send another driver?", yes: "Yes, I cannot continue" },
  accident: { name: "I had an accident", title: "Report an accident?", yes: "Yes, report it" },
  unsafe: { name: "I am not safe", title: "Call for help?", yes: "Yes, alert my operator" },
};

/** Asks what it is, unless `kind` says so, and reports it. */
export function Emergency({ app, kind, onClose }: { app: DriverApp; kind?: Kind; onClose: () => void }): JSX.Element {
  const [asked, setAsked] = useState<Kind | undefined>(kind);
  if (asked === undefined) {
    return (
      <Dialog key="kinds" title="What has happened?" onClose={onClose}>
        <div class="choices">
          {(Object.keys(KINDS) as Kind[]).map((it) => (
            <Button key={it} size="large" onClick={() => setAsked(it)}>{KINDS[it].name}</Button>
          ))}
          <Button size="large" kind="quiet" onClick={onClose}>Back</Button>
        </div>
      </Dialog>
    );
  }
  const { title, yes } = KINDS[asked];
  return (
    <Dialog key={asked} title={title} onClose={onClose}>
      <p>{asked === "breakdown" ? takenOver(app) : "If anyone is hurt or in danger, call the emergency number first. This alerts your operator at once."}</p>
      <div class="choices">
        <Button
          size="large"
          kind="danger"
          onClick={() => {
            onClose();
            void app.emergency(asked);
          }}
        >
          {yes}
        </Button>
        <Button size="large" onClick={onClose}>No</Button>
      </div>
    </Dialog>
  );
}

function takenOver(app: DriverApp): string {
  if (app.jobs.value.length === 0) return "This alerts your operator. Go offline if you cannot take orders.";
  return "Another driver will meet you and take over everything on board. You will get no more offers.";
}
