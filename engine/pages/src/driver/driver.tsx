/** The driver app: one thing to do at a time, reached with a thumb. */

import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Button, Dialog } from "../shared/components.tsx";
import { now } from "../shared/now.ts";
import { session, signOut } from "../shared/session.ts";
import { clock, count, duration, named, placeName } from "../shared/words.ts";
import { DriverApp, type Line, type Vehicle } from "./app.ts";
import type { Asked } from "./kept/requests.ts";
import { followVisibility, keepAwake, place, wasAwayMs, watchPosition } from "./device.ts";
import { Emergency } from "./views/emergency.tsx";
import { Idle } from "./views/idle.tsx";
import { OfferCard } from "./views/offer.tsx";
import { Run } from "./views/run.tsx";

const VEHICLE = "mallard.driver.vehicle";

export function Driver(): JSX.Element {
  const who = session.value!;
  const [vehicle, setVehicle] = useState<Vehicle>(readVehicle);
  const app = useMemo(() => new DriverApp(who, vehicle), [who.sub, who.market, vehicle.kind]);
  useEffect(() => {
    app.start();
    const ends = [watchPosition(app.client), followVisibility(app.client), keepAwake(() => app.state.value !== "offline")];
    return () => {
      for (const end of ends) end();
      void app.stop();
    };
  }, [app]);
  const keep = (next: Vehicle): void => {
    localStorage.setItem(VEHICLE, JSON.stringify(next));
    setVehicle(next);
  };

  const offer = app.offer.value;
  const jobs = app.jobs.value;
  return (
    <div class="driver">
      <Top app={app} />
      <Notices app={app} />
      <main>
        {jobs.length > 0 ? <Run app={app} /> : <Idle app={app} vehicle={vehicle} onVehicle={keep} />}
      </main>
      {offer ? <OfferCard key={offer.offer} app={app} offer={offer} /> : null}
    </div>
  );
}

function Top({ app }: { app: DriverApp }): JSX.Element {
  const [open, setOpen] = useState<"menu" | "emergency" | null>(null);
  const close = (): void => setOpen(null);
  const state = app.state.value;
  const isWorking = app.jobs.value.length > 0 || state === "available" || state === "on_run" || state === "offered";
  return (
    <header class="driver-top">
      <span class={`pill pill-${isWorking ? "on" : state}`}>{app.jobs.value.length > 0 ? "On a run" : isWorking ? "Online" : named(state)}</span>
      <LineState line={app.line.value} />
      <Button size="small" kind="quiet" onClick={() => setOpen("menu")} aria-haspopup="dialog">
        Menu
      </Button>
      {open === "menu" ? <Menu app={app} onClose={close} onEmergency={() => setOpen("emergency")} /> : null}
      {open === "emergency" ? <Emergency app={app} onClose={close} /> : null}
    </header>
  );
}

function LineState({ line }: { line: Line }): JSX.Element {
  switch (line.is) {
    case "online":
      return <span class="line line-up" role="status">{line.over === "http" ? "Slow connection" : "Connected"}</span>;
    case "connecting":
      return <span class="line" role="status">Connecting…</span>;
    case "away":
      return (
        <span class="line line-down" role="status">
          Offline{line.untilMs > now.value ? <>, retrying in {duration((line.untilMs - now.value) / 1000)}</> : null}
        </span>
      );
    case "stopped":
      return <span class="line line-down" role="status">Stopped</span>;
  }
}

function Menu({ app, onClose, onEmergency }: { app: DriverApp; onClose: () => void; onEmergency: () => void }): JSX.Element {
  const who = session.value;
  const isIdle = app.jobs.value.length === 0;
  const isOffline = isIdle && app.state.value === "offline";
  const close = (act: () => void | Promise<void>) => () => {
    onClose();
    void act();
  };
  return (
    <Dialog title={who?.sub ?? "Driver"} onClose={onClose}>
      <div class="choices">
        {isOffline ? null : app.state.value === "paused" ? (
          <Button size="large" onClick={close(() => app.goOnline(null))}>Resume offers</Button>
        ) : (
          <Button size="large" onClick={close(() => app.pause())}>Pause offers</Button>
        )}
        {isIdle && !isOffline ? <Button size="large" onClick={close(() => app.goOffline())}>Go offline</Button> : null}
        <Button size="large" onClick={onEmergency}>Breakdown, accident, danger</Button>
        <Button
          size="large"
          kind="quiet"
          onClick={close(async () => {
            await app.leave();
            signOut();
          })}
        >
          Sign out
        </Button>
        <Button size="large" kind="quiet" onClick={onClose}>Close</Button>
      </div>
      {isIdle ? null : <p class="muted">You can go offline once your orders are done.</p>}
    </Dialog>
  );
}

/** What the driver must know now: old data, reports that wait, a position that is missing. */
function Notices({ app }: { app: DriverApp }): JSX.Element {
  const line = app.line.value;
  const queued = app.queued.value;
  const images = app.outbox.waiting.value.length;
  const ends = app.signInEndsMs.value;
  const { value: asked } = app.requests.waiting;
  // While the line is up they are on their way.
  const isShown = line.is !== "online" || images > 0;
  const waiting = queued.length + images + (isShown ? asked.length : 0);
  return (
    <div class="notices" role="status" aria-live="polite">
      {line.is === "stopped" && line.why ? (
        <p class="notice notice-danger">
          {line.why} <Button size="small" onClick={() => app.start()}>Use this phone</Button>
        </p>
      ) : null}
      {waiting > 0 ? (
        <details class="notice">
          <summary>
            {count(waiting, "report")} will be sent when you are back online. Keep working; nothing is lost.
          </summary>
          <ol>
            {queued.map((report, index) => (
              <li key={index}>
                {named(report.step)}{report.store ? ` at ${placeName(report.store)}` : ""}, {clock(report.at_ms, now.value)}
              </li>
            ))}
            {asked.map((it, index) => (
              <li key={`asked-${index}`}>
                {wordsOf(it)}{it.kind === "problem" ? `, ${clock(it.atMs + Date.now() - app.serverNowMs(), now.value)}` : ""}
              </li>
            ))}
            {images > 0 ? <li>{count(images, "delivery", "deliveries")} with a photo or signature</li> : null}
          </ol>
        </details>
      ) : null}
      {ends === null ? null : (
        <p class="notice notice-warn">
          Your sign-in ends at {clock(ends + Date.now() - app.serverNowMs(), now.value)}. Ask your operator for a new link; your run is not lost.{" "}
          <Button size="small" onClick={() => signOut("Paste another token, or open another link.")}>Sign in again</Button>
        </p>
      )}
      {place.value === "denied" ? (
        <p class="notice notice-danger">This page cannot see your location, so you get no offers. Allow it in the browser’s settings.</p>
      ) : null}
      {place.value === "unavailable" ? <p class="notice notice-warn">Your position cannot be found right now.</p> : null}
      {wasAwayMs.value > 0 ? (
        <p class="notice notice-warn">
          Your phone paused this page for {duration(wasAwayMs.value / 1000)}, so you may have missed offers. Keep it open and in front.{" "}
          <Button size="small" kind="quiet" onClick={() => (wasAwayMs.value = 0)}>OK</Button>
        </p>
      ) : null}
    </div>
  );
}

const WISHES = { available: "Go online", paused: "Pause offers", offline: "Go offline" };

function wordsOf(asked: Asked): string {
  switch (asked.kind) {
    case "accept":
      return "Accept the offer";
    case "decline":
      return "Decline the offer";
    case "status":
      return WISHES[asked.wish];
    case "problem":
      return named(asked.what);
  }
}

function readVehicle(): Vehicle {
  try {
    const kept = JSON.parse(localStorage.getItem(VEHICLE) ?? "null");
    if (kept && ["car", "van", "bike", "foot"].includes(kept.kind)) return { kind: kept.kind, untilMs: null };
  } catch {
    // The saved state is unusable.
  }
  return { kind: "car", untilMs: null };
}
