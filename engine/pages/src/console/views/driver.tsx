/** One driver: where it is, what it has, why it gets no offers. */

import type { JSX } from "preact";
import { Badge, Button, Card, Empty } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { call } from "../../shared/session.ts";
import { ago, clock, count, named } from "../../shared/words.ts";
import { useConsole, useLoaded } from "../context.ts";
import { Due, short, StateBadge } from "../marks.tsx";
import type { Driver } from "../core/types.ts";
import { Fact } from "./job.tsx";

export function DriverPage({ id }: { id: string }): JSX.Element {
  const { live, market, run } = useConsole();
  live.version.value;
  const known = live.board.drivers.get(id);
  const stamp = known ? `${known.state}/${known.jobs.join()}/${known.suspended}/${known.connected}` : "";
  const path = `/v1/markets/${encodeURIComponent(market.id)}/drivers/${encodeURIComponent(id)}`;
  const loaded = useLoaded(`${id}/${stamp}`, () => call<Driver>(path));
  const driver = loaded.value?.driver === id ? { ...loaded.value, ...(known ?? {}), alias: loaded.value.alias ?? null } : known;
  if (loaded.fault !== null && !driver) return <Empty title="This driver cannot be shown">{loaded.fault}</Empty>;
  if (!driver) return <p class="loading">Loading…</p>;
  const jobs = driver.jobs.map((job) => live.board.jobs.get(job) ?? job);
  const isOnBoard = jobs.some((job) => typeof job !== "string" && (job.state === "picked_up" || job.state === "returning"));
  return (
    <section class="page" aria-labelledby="driver-title">
      <header class="page-head">
        <div>
          <h1 id="driver-title" class="breaks">{driver.driver}</h1>
          {driver.alias ? <p class="muted">Known to order services as {driver.alias}</p> : null}
        </div>
        <div class="badges">
          <StateBadge state={driver.state} />
          {driver.connected ? null : <Badge tone="warn">Not connected</Badge>}
          {driver.suspended ? <Badge tone="danger">Suspended</Badge> : null}
        </div>
      </header>
      <div class="commands">
        {driver.suspended ? (
          <Button size="small" onClick={() => run({ kind: "resume", market: market.id, driver: id })}>Lift the suspension</Button>
        ) : (
          <Button
            size="small"
            onClick={() =>
              run({ kind: "suspend", market: market.id, driver: id, reason: "operator" }, "Suspend this driver? The driver gets no offers until you lift the suspension.")
            }
          >
            Suspend
          </Button>
        )}
        {isOnBoard ? (
          <Button
            size="small"
            onClick={() => run({ kind: "transfer", market: market.id, driver: id }, "Send another driver to take over all parcels on board?")}
          >
            Send another driver
          </Button>
        ) : null}
      </div>
      <div class="columns">
        <div class="column">
          <Card>
            <h2>Orders</h2>
            {jobs.length === 0 ? (
              <p class="muted">No orders at the moment.</p>
            ) : (
              <ol class="driver-jobs">
                {jobs.map((job) =>
                  typeof job === "string" ? (
                    <li key={job}>
                      <button type="button" class="link mono" onClick={() => run({ kind: "open", path: `/job/${job}` })}>{short(job)}</button>
                    </li>
                  ) : (
                    <li key={job.id}>
                      <button type="button" class="link mono" onClick={() => run({ kind: "open", path: `/job/${job.id}` })}>
                        {job.external_id ?? short(job.id)}
                      </button>
                      <StateBadge state={job.state} />
                      <span class="breaks">{job.dropoff.name ?? job.dropoff.address ?? ""}</span>
                      <Due atMs={Date.parse(job.dropoff.deadline ?? job.expires_at)} nowMs={now.value} />
                    </li>
                  ),
                )}
              </ol>
            )}
          </Card>
        </div>
        <div class="column column-side">
          <Card>
            <dl class="facts">
              <Fact name="Position">{driver.at_ms ? ago(driver.at_ms, now.value) : "none"}</Fact>
              <Fact name="Last seen">{driver.last_seen ? ago(Date.parse(driver.last_seen), now.value) : "never"}</Fact>
              <Fact name="Offers">
                {driver.barred ? (
                  <>
                    None: {named(driver.barred.why).toLowerCase()}
                    {driver.barred.until_ms ? <> until {clock(driver.barred.until_ms, now.value)}</> : null}
                  </>
                ) : (
                  "Can get offers"
                )}
              </Fact>
              {driver.suspended_for ? <Fact name="Suspended for">{driver.suspended_for}</Fact> : null}
              {driver.vehicle ? (
                <Fact name="Vehicle">
                  {named(driver.vehicle.kind)}, {count(driver.vehicle.max_jobs, "order")}, {Math.round(driver.vehicle.max_weight_g / 1000)} kg
                </Fact>
              ) : null}
              {driver.qualifications?.length ? <Fact name="Qualifications">{driver.qualifications.map(named).join(", ")}</Fact> : null}
            </dl>
          </Card>
        </div>
      </div>
    </section>
  );
}
