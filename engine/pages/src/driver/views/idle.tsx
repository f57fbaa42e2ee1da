/** Without orders: going online, with what and until when; and why no offers come. */

import type { JSX, RefObject } from "preact";
import { Button, Card } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { clock, named } from "../../shared/words.ts";
import { allowSound } from "../alarm.ts";
import type { DriverApp, Vehicle } from "../app.ts";
import { useFocus } from "./focus.ts";

const KINDS: [Vehicle["kind"], string][] = [["car", "Car"], ["van", "Van"], ["bike", "Bike"], ["foot", "On foot"]];
const HOUR_MS = 3_600_000;
const BLOCKS = [2, 3, 4, 6, 8];

const WHY: Record<string, string> = {
  suspended: "Your operator has suspended you. Call them.",
  cooling_down: "You have a short break after an offer that you did not take.",
  unreachable: "An offer did not reach this phone. Offers resume as soon as the phone responds.",
  stale: "Your last position is too old. Move to a place with a clear view of the sky.",
  no_position: "Your position is not known yet.",
  block_over: "The time you chose has ended.",
  market_paused: "Offers are paused in this area.",
};

export function Idle({ app, vehicle, onVehicle }: { app: DriverApp; vehicle: Vehicle; onVehicle: (next: Vehicle) => void }): JSX.Element {
  const state = app.state.value;
  const isOn = state === "available" || state === "offered";
  const title = useFocus<HTMLHeadingElement>([isOn]);
  if (isOn) return <Waiting app={app} title={title} />;
  return (
    <section class="idle" aria-labelledby="idle-title">
      <h1 ref={title} tabIndex={-1} id="idle-title">{state === "paused" ? "You are paused" : "Ready to drive?"}</h1>
      <Card>
        <fieldset class="choose">
          <legend>Vehicle</legend>
          {KINDS.map(([kind, name]) => (
            <label key={kind}>
              <input type="radio" name="kind" checked={vehicle.kind === kind} onChange={() => onVehicle({ ...vehicle, kind })} />
              <span>{name}</span>
            </label>
          ))}
        </fieldset>
        <fieldset class="choose">
          <legend>How long</legend>
          <label>
            <input type="radio" name="block" checked={vehicle.untilMs === null} onChange={() => onVehicle({ ...vehicle, untilMs: null })} />
            <span>No end time</span>
          </label>
          {BLOCKS.map((hours) => (
            <label key={hours}>
              <input
                type="radio"
                name="block"
                checked={vehicle.untilMs !== null && Math.round((vehicle.untilMs - now.value) / HOUR_MS) === hours}
                onChange={() => onVehicle({ ...vehicle, untilMs: Date.now() + hours * HOUR_MS })}
              />
              <span>{hours} h</span>
            </label>
          ))}
        </fieldset>
        {vehicle.untilMs === null ? null : <p class="muted">You will get offers until {clock(vehicle.untilMs, now.value)}.</p>}
      </Card>
      <Why app={app} />
      <div class="thumb">
        <Button
          kind="primary"
          size="large"
          busy={app.isBusy.value}
          onClick={() => {
            allowSound();
            void app.goOnline(vehicle.untilMs);
          }}
        >
          {state === "paused" ? "Resume offers" : "Go online"}
        </Button>
      </div>
    </section>
  );
}

function Waiting({ app, title }: { app: DriverApp; title: RefObject<HTMLHeadingElement | null> }): JSX.Element {
  const barred = app.barred.value;
  return (
    <section class="idle" aria-labelledby="idle-title">
      <div class={`radar ${barred ? "radar-off" : ""}`} aria-hidden="true">
        <i />
        <i />
      </div>
      <h1 ref={title} tabIndex={-1} id="idle-title">{barred ? "No offers right now" : "Waiting for an offer"}</h1>
      {barred ? <Why app={app} /> : <p class="muted">Keep this page open and in front. It rings and vibrates when an offer comes.</p>}
      <div class="thumb">
        <Button size="large" busy={app.isBusy.value} onClick={() => void app.goOffline()}>
          Go offline
        </Button>
      </div>
    </section>
  );
}

/** Why no offers come, and until when. */
export function Why({ app }: { app: DriverApp }): JSX.Element | null {
  const barred = app.barred.value;
  if (barred === null || app.state.value === "offline") return null;
  const words = Object.hasOwn(WHY, barred.why) ? WHY[barred.why] : named(barred.why);
  return (
    <p class="notice notice-warn">
      {words} {barred.until_ms ? <strong>Until {clock(barred.until_ms, now.value)}.</strong> : null}
    </p>
  );
}
