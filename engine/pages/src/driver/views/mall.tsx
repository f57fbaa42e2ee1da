/** At the mall: the shops in the order to visit, and what each hands over. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Badge, Button, Card, Dialog } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { clock, count, duration } from "../../shared/words.ts";
import type { DriverApp } from "../app.ts";
import { directions, isShort, type MallStop, type Pickup, type ShopStop } from "../run.ts";

const NOT_READY_MIN = [10, 20, 40];

export function MallStopCard({ app, stop }: { app: DriverApp; stop: MallStop }): JSX.Element {
  const offsetMs = Date.now() - app.serverNowMs();
  const parcels = stop.shops.reduce((sum, shop) => sum + shop.pickups.reduce((all, it) => all + it.visit.parcels, 0), 0);
  const [next, ...later] = stop.shops;
  return (
    <Card tabIndex={-1} aria-label={`Collect at ${stop.mall.name}`}>
      <p class="stop-kind">Collect</p>
      <h2 class="stop-title">{stop.mall.name}</h2>
      <p class="muted">Gate {stop.mall.gate} · {count(parcels, "parcel")} from {count(stop.shops.length, "shop")}</p>
      {stop.isAhead ? (
        <div class="stop-actions">
          <a class="button button-large" href={directions(stop.mall.gate_lat, stop.mall.gate_lon)} target="_blank" rel="noreferrer">Navigate to the gate</a>
          <Button
            kind="primary"
            size="large"
            onClick={() => {
              for (const job of stop.jobs) if (job.state === "assigned") app.step(job, "at_mall");
            }}
          >
            I am at the mall
          </Button>
        </div>
      ) : null}
      {next ? <Shop key={`${next.store}/${stop.isAhead}`} app={app} shop={next} offsetMs={offsetMs} isNext={!stop.isAhead} /> : null}
      {later.map((shop) => (
        <Shop key={shop.store} app={app} shop={shop} offsetMs={offsetMs} />
      ))}
      <GiveUp app={app} stop={stop} />
    </Card>
  );
}

function Shop({ app, shop, offsetMs, isNext = false }: { app: DriverApp; shop: ShopStop; offsetMs: number; isNext?: boolean }): JSX.Element {
  const [isOpen, setOpen] = useState(isNext);
  const readyInS = (shop.readyMs + offsetMs - now.value) / 1000;
  const isClosed = shop.pickups.some((it) => it.visit.state === "closed");
  return (
    <section class={`shop-stop ${isNext ? "shop-next" : ""}`} aria-label={shop.name}>
      <button type="button" class="shop-head" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <strong>{shop.name}</strong>
        <span class="muted">Floor {shop.floor} · gate {shop.gate}</span>
        {isClosed ? <Badge tone="warn">Closed</Badge> : shop.pickups.some((it) => isShort(it.visit)) ? <Badge tone="warn">Short</Badge> : readyInS > 60 ? <Badge tone="warn">Ready in {duration(readyInS)}</Badge> : <Badge tone="ok">Ready</Badge>}
      </button>
      {isOpen ? shop.pickups.map((pickup) => <Collect key={pickup.job.job} app={app} pickup={pickup} />) : null}
    </section>
  );
}

function Collect({ app, pickup }: { app: DriverApp; pickup: Pickup }): JSX.Element {
  const { job, visit } = pickup;
  const [asked, setAsked] = useState<"no" | "trouble" | "short" | "late">("no");
  // Once something is on board nothing waits at a shop: `hold` is `deliver`.
  const mayTakeFewer = job.detail.on_short !== "fail" && (job.detail.on_short !== "hold" || job.state === "picked_up");
  const isFewer = isShort(visit);
  const close = (): void => setAsked("no");
  return (
    <div class="collect">
      <dl class="codes">
        <div><dt>Order</dt><dd class="mono breaks">{job.detail.external_id ?? job.job.slice(-8)}</dd></div>
        {visit.pickup_code ? <div><dt>Say</dt><dd class="code">{visit.pickup_code}</dd></div> : null}
        {job.detail.handover_code ? <div><dt>Show</dt><dd class="code">{job.detail.handover_code}</dd></div> : null}
        <div><dt>Take</dt><dd>{isFewer ? `Fewer than ${visit.parcels} parcels` : count(visit.parcels, "parcel")}</dd></div>
      </dl>
      <div class="stop-actions">
        <Button kind="primary" size="large" onClick={() => app.step(job, "collected", { store: visit.store })}>
          Collected {isFewer ? "what is there" : visit.parcels > 1 ? `all ${visit.parcels}` : ""}
        </Button>
        <Button size="large" onClick={() => setAsked("trouble")}>Report a problem</Button>
      </div>
      {asked === "trouble" ? (
        <Dialog title={visit.name} onClose={close}>
          <div class="choices">
            <Button size="large" onClick={() => setAsked("late")}>Not ready yet</Button>
            {visit.parcels > 1 ? <Button size="large" onClick={() => setAsked("short")}>Fewer than {visit.parcels}</Button> : null}
            <Button
              size="large"
              onClick={() => {
                close();
                app.step(job, "collected", { store: visit.store, parcels: 0 });
              }}
            >
              Nothing is here
            </Button>
            <Button
              size="large"
              onClick={() => {
                close();
                void app.problem("store_closed", { job: job.job, attempt: job.attempt, store: visit.store });
              }}
            >
              The shop is closed
            </Button>
            <Button
              size="large"
              onClick={() => {
                close();
                void app.problem("does_not_fit", { job: job.job, attempt: job.attempt, store: visit.store });
              }}
            >
              It does not fit
            </Button>
            <Button size="large" kind="quiet" onClick={close}>Back</Button>
          </div>
        </Dialog>
      ) : null}
      {asked === "late" ? (
        <Dialog title="When will it be ready?" onClose={close}>
          <div class="choices">
            {NOT_READY_MIN.map((minutes) => (
              <Button
                key={minutes}
                size="large"
                onClick={() => {
                  close();
                  const untilMs = Date.now() + minutes * 60_000;
                  void app.problem("not_ready", { job: job.job, attempt: job.attempt, store: visit.store, until_ms: untilMs });
                }}
              >
                In {minutes} minutes, about {clock(Date.now() + minutes * 60_000, now.value)}
              </Button>
            ))}
            <Button size="large" kind="quiet" onClick={close}>Back</Button>
          </div>
        </Dialog>
      ) : null}
      {asked === "short" ? (
        <Dialog title="How many are there?" onClose={close}>
          {mayTakeFewer ? null : <p>Leave them at the shop: this order waits until it is complete.</p>}
          <div class="numbers">
            {Array.from({ length: visit.parcels - 1 }, (_, index) => index + 1).map((parcels) => (
              <Button
                key={parcels}
                size="large"
                onClick={() => {
                  close();
                  if (mayTakeFewer) app.step(job, "collected", { store: visit.store, parcels });
                  else void app.problem("partial", { job: job.job, attempt: job.attempt, store: visit.store });
                }}
              >
                {parcels}
              </Button>
            ))}
          </div>
          <div class="choices">
            <Button size="large" kind="quiet" onClick={close}>Back</Button>
          </div>
        </Dialog>
      ) : null}
    </div>
  );
}

/** Before anything is on board a driver can give the orders back. */
function GiveUp({ app, stop }: { app: DriverApp; stop: MallStop }): JSX.Element | null {
  const [isAsked, setAsked] = useState(false);
  const jobs = stop.jobs.filter((job) => job.state === "assigned" || job.state === "at_mall");
  if (jobs.length === 0) return null;
  return (
    <>
      <Button kind="quiet" size="small" onClick={() => setAsked(true)}>I cannot take {jobs.length === 1 ? "this order" : "these orders"}</Button>
      {isAsked ? (
        <Dialog title={jobs.length === 1 ? "Give the order back?" : `Give ${jobs.length} orders back?`} onClose={() => setAsked(false)}>
          <p>Another driver will get {jobs.length === 1 ? "it" : "them"}. You will not be offered {jobs.length === 1 ? "it" : "them"} again.</p>
          <div class="choices">
            <Button
              size="large"
              kind="danger"
              onClick={() => {
                setAsked(false);
                for (const job of jobs) app.step(job, "give_up");
              }}
            >
              Give back
            </Button>
            <Button size="large" autofocus onClick={() => setAsked(false)}>Keep</Button>
          </div>
        </Dialog>
      ) : null}
    </>
  );
}
