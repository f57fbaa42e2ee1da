/** The offer: what it is, what it pays, how long it can be answered. Over everything else. */

import type { OfferMessage } from "@mallard/client";
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Button } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { pauseTaps } from "../../shared/taps.ts";
import { clock, count, distance, duration, money, named } from "../../shared/words.ts";
import type { DriverApp } from "../app.ts";

const TICK_MS = 200;
const RADIUS = 34;
const ROUND = 2 * Math.PI * RADIUS;
const REASONS: [string, string][] = [
  ["too_far", "Too far"],
  ["pay", "Pays too little"],
  ["too_much", "Too much to carry"],
  ["break", "I need a break"],
];

export function OfferCard({ app, offer }: { app: DriverApp; offer: OfferMessage }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const total = useRef(app.client.secondsLeft(offer));
  const [left, setLeft] = useState(total.current);
  const [isDeclining, setDeclining] = useState(false);
  useEffect(() => {
    // An offer can come at any time, also under a thumb that is about to press a button of the page.
    pauseTaps();
    const element = dialog.current;
    const open = (): void => element?.showModal();
    open();
    // A page can refuse the phone's back button once; at the next press the browser closes the dialog.
    element?.addEventListener("close", open);
    // The card is drawn: only now the driver has seen it.
    const frame = requestAnimationFrame(() => app.shown(offer));
    const timer = setInterval(() => setLeft(app.client.secondsLeft(offer)), TICK_MS);
    return () => {
      cancelAnimationFrame(frame);
      clearInterval(timer);
      element?.removeEventListener("close", open);
      element?.close();
    };
  }, [offer.offer]);

  const parcels = offer.jobs.reduce((sum, job) => sum + job.parcels.count, 0);
  const shops = new Set(offer.jobs.flatMap((job) => job.stores.map((it) => it.name)));
  const requires = [...new Set(offer.jobs.flatMap((job) => job.requires))];
  const due = Math.min(...offer.jobs.map((job) => job.dropoff.deadline_ms));
  const offsetMs = Date.now() - app.serverNowMs();
  const share = total.current > 0 ? left / total.current : 0;
  const seconds = Math.ceil(left);
  return (
    <dialog ref={dialog} class="offer" aria-labelledby="offer-title" onCancel={(event) => event.preventDefault()}>
      <header class="offer-head">
        <svg class="ring" viewBox="0 0 80 80" role="timer" aria-label={`${seconds} seconds left`}>
          <circle class="ring-track" cx="40" cy="40" r={RADIUS} />
          <circle
            class={`ring-left ${seconds <= 5 ? "ring-short" : ""}`}
            cx="40"
            cy="40"
            r={RADIUS}
            stroke-dasharray={ROUND}
            stroke-dashoffset={ROUND * (1 - Math.max(0, Math.min(1, share)))}
          />
          <text x="40" y="40">{seconds}</text>
        </svg>
        <div>
          <p class="offer-count">{offer.jobs.length === 1 ? "One order" : `${offer.jobs.length} orders in one run`}</p>
          <h1 id="offer-title">{offer.mall.name}</h1>
        </div>
        {offer.pay ? <p class="offer-pay">{money(offer.pay.amount_minor, offer.pay.currency)}</p> : null}
      </header>
      <dl class="offer-facts">
        <div><dt>Gate</dt><dd>{named(offer.mall.gate)}</dd></div>
        <div><dt>Away</dt><dd>{distance(offer.distance_m)}, {offer.eta_s < 60 ? "under a minute" : duration(offer.eta_s)}</dd></div>
        <div><dt>Parcels</dt><dd>{count(parcels, "parcel")} from {count(shops.size, "shop")}</dd></div>
        <div><dt>Deliver by</dt><dd>{clock(due + offsetMs, now.value)}</dd></div>
        {requires.length > 0 ? <div><dt>Needs</dt><dd>{requires.map(named).join(", ")}</dd></div> : null}
      </dl>
      <ul class="offer-shops">
        {[...shops].map((name) => (
          <li key={name}>{name}</li>
        ))}
      </ul>
      {app.isAnswered(offer) && !app.isBusy.value ? <p class="notice notice-warn" role="status">Your answer will be sent when you are back online.</p> : null}
      {isDeclining ? (
        <div class="offer-actions">
          <p>Why not?</p>
          {REASONS.map(([code, words]) => (
            <Button key={code} size="large" onClick={() => void app.decline(offer, code)}>{words}</Button>
          ))}
          <Button size="large" kind="quiet" onClick={() => void app.decline(offer)}>I would rather not say</Button>
          <Button size="large" kind="quiet" onClick={() => setDeclining(false)}>Back to the offer</Button>
        </div>
      ) : (
        <div class="offer-actions">
          <Button kind="primary" size="large" busy={app.isBusy.value || app.isAnswered(offer)} onClick={() => void app.accept(offer)}>Accept</Button>
          <Button size="large" onClick={() => setDeclining(true)}>Decline</Button>
        </div>
      )}
    </dialog>
  );
}
