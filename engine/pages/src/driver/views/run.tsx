/** The run: the next stop large, the others below it. */

import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { Card } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { clock, count, until } from "../../shared/words.ts";
import type { DriverApp } from "../app.ts";
import { useFocus } from "./focus.ts";
import { asReported, stopsOf, type Stop } from "../run.ts";
import { Door } from "./door.tsx";
import { Why } from "./idle.tsx";
import { MallStopCard } from "./mall.tsx";
import { Meeting } from "./meeting.tsx";
import { Return } from "./return.tsx";

export function Run({ app }: { app: DriverApp }): JSX.Element {
  // A return that is said once more was doubted: it is not done with.
  const doubted = new Set(app.outbox.returns.value.filter((it) => it.isDoubted).map((it) => it.job));
  const reports = [...app.taken.value, ...app.queued.value.filter((it) => it.step !== "returned" || !doubted.has(it.job))];
  const jobs = asReported(app.jobs.value, reports, app.outbox.waiting.value.map((it) => it.job));
  const arrived = reports.filter((it) => it.step === "at_door").map((it) => it.job);
  const begun = jobs.map((it) => it.job).filter((job) => arrived.includes(job) || app.drafts.has(job));
  // The door that was in front stays there; one of the later stops does not jump under the finger.
  const front = useRef(begun[0]);
  const stops = stopsOf(jobs, begun.find((job) => job === front.current));
  const [next, ...later] = stops;
  front.current = next?.kind === "door" ? next.job.job : undefined;
  const section = useFocus<HTMLElement>([stops.map(keyOf).join(), reports.length], ".card");
  return (
    <section ref={section} class="run" aria-labelledby="run-title">
      <h1 id="run-title" class="visually-hidden">Your run</h1>
      {next ? <StopView key={keyOf(next)} app={app} stop={next} /> : <Card tabIndex={-1}><p>Nothing is left to do. Your reports will be sent when you are back online.</p></Card>}
      {later.length > 0 ? (
        <>
          <h2 class="run-later">Then {count(later.length, "stop")}</h2>
          {later.map((stop) => (
            <details key={keyOf(stop)} class="stop-later">
              <summary>
                <strong class="breaks">{titleOf(stop)}</strong>
                <span class="muted">{dueOf(app, stop)}</span>
              </summary>
              <StopView app={app} stop={stop} />
            </details>
          ))}
        </>
      ) : null}
      <Why app={app} />
    </section>
  );
}

function StopView({ app, stop }: { app: DriverApp; stop: Stop }): JSX.Element {
  switch (stop.kind) {
    case "mall":
      return <MallStopCard app={app} stop={stop} />;
    case "door":
      return <Door app={app} job={stop.job} />;
    case "return":
      return <Return app={app} job={stop.job} />;
    case "meeting":
      return <Meeting app={app} job={stop.job} />;
  }
}

function keyOf(stop: Stop): string {
  return stop.kind === "mall" ? `mall/${stop.mall.id}` : `${stop.kind}/${stop.job.job}`;
}

function titleOf(stop: Stop): string {
  switch (stop.kind) {
    case "mall":
      return `Collect at ${stop.mall.name}`;
    case "door":
      return stop.job.detail.dropoff.name ?? stop.job.detail.dropoff.address ?? "A customer";
    case "return":
      return "Bring back";
    case "meeting":
      return "Meet a driver";
  }
}

function dueOf(app: DriverApp, stop: Stop): string {
  if (stop.kind !== "door") return "";
  const offsetMs = Date.now() - app.serverNowMs();
  const due = stop.job.detail.dropoff.deadline_ms + offsetMs;
  return `by ${clock(due, now.value)} · ${until(due, now.value)}`;
}
