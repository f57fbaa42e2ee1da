/** One order: its state, its history, why this driver, and what an operator can do. */

import type { ComponentChildren, JSX } from "preact";
import { Badge, Button, Card, Empty } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { call } from "../../shared/session.ts";
import { ago, clock, count, distance, duration, money, named } from "../../shared/words.ts";
import type { Command } from "../core/commands.ts";
import { useConsole, useLoaded } from "../context.ts";
import { candidateRows, termNames, type CandidateRow } from "../core/explain.ts";
import { Due, Risk, StateBadge } from "../marks.tsx";
import { route, setQuery } from "../router.ts";
import type { Explanation, Job, TimelineEntry } from "../core/types.ts";

const TABS = { timeline: "Timeline", explain: "Why this driver?" } as const;
type Tab = keyof typeof TABS;
/** What a dispatcher can tell the driver about a problem. */
const ANSWERS: Record<string, string> = { retry: "Try again", leave: "Leave at door", return: "Bring it back", wait: "Wait" };
// A report that comes later than this was made while the driver was offline.
const LATER_MS = 60_000;

export function JobPage({ id }: { id: string }): JSX.Element {
  const { live } = useConsole();
  const version = live.version.value;
  const known = live.board.jobs.get(id);
  // The board's copy comes by events and has no timeline: read the whole job when it has changed.
  const stamp = known ? `${known.updated_at}/${known.state}/${known.attempt}/${known.problems?.length ?? 0}` : "";
  const loaded = useLoaded(`${id}/${stamp}`, () => call<Job>(`/v1/jobs/${encodeURIComponent(id)}`));
  const job = loaded.value?.id === id ? { ...loaded.value, ...(known ?? {}), timeline: loaded.value.timeline ?? [] } : known;
  void version;
  if (loaded.fault !== null && !job) return <Empty title="This order cannot be shown">{loaded.fault}</Empty>;
  if (!job) return <p class="loading">Loading…</p>;
  const tab: Tab = route.value.query.get("tab") === "explain" ? "explain" : "timeline";
  return (
    <section class="page" aria-labelledby="job-title">
      <header class="page-head">
        <div>
          <h1 id="job-title" class="breaks">{job.external_id ?? job.id}</h1>
          <p class="muted mono breaks">{job.id}</p>
        </div>
        <div class="badges">
          <StateBadge state={job.state} />
          <Risk job={job} />
          {job.cancel_requested ? <Badge tone="warn">Cancel requested</Badge> : null}
          {job.kind === "transfer" ? <Badge tone="info">Transfer</Badge> : null}
        </div>
      </header>
      <Commands job={job} />
      <div class="columns">
        <div class="column">
          <Problems job={job} />
          <Card>
            <div class="tabs" role="tablist" aria-label="About this order">
              {(Object.keys(TABS) as Tab[]).map((it) => (
                <button
                  type="button"
                  role="tab"
                  id={`tab-${it}`}
                  aria-selected={it === tab}
                  aria-controls="tab-panel"
                  onClick={() => setQuery(new URLSearchParams(it === "explain" ? { tab: it } : {}))}
                >
                  {TABS[it]}
                </button>
              ))}
            </div>
            <div id="tab-panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
              {tab === "explain" ? <Explain id={id} stamp={stamp} /> : <Timeline job={job} />}
            </div>
          </Card>
        </div>
        <div class="column column-side">
          <Facts job={job} />
        </div>
      </div>
    </section>
  );
}

function Commands({ job }: { job: Job }): JSX.Element | null {
  const { run } = useConsole();
  if (job.terminal) return null;
  const isOnBoard = job.state === "picked_up" || job.state === "returning";
  const buttons: [string, Command, string?][] = [];
  if (!isOnBoard) buttons.push([job.driver ? "Assign to another…" : "Assign…", { kind: "ask-assign", job: job.id }]);
  if (job.state === "assigned" || job.state === "at_mall")
    buttons.push([
      "Unassign",
      { kind: "unassign", job: job.id, reason: "operator" },
      "Unassign this order and look for another driver?",
    ]);
  if (isOnBoard && job.driver)
    buttons.push([
      "Transfer",
      { kind: "transfer", market: job.market, driver: job.driver },
      "Send another driver to take over everything that this driver has on board?",
    ]);
  if (isOnBoard) buttons.push(["Close…", { kind: "ask-close", job: job.id }]);
  buttons.push(["Cancel…", { kind: "ask-cancel", job: job.id }]);
  return (
    <div class="commands">
      {buttons.map(([label, command, confirm]) => (
        <Button key={label} size="small" onClick={() => run(command, confirm)}>
          {label}
        </Button>
      ))}
    </div>
  );
}

function Problems({ job }: { job: Job }): JSX.Element | null {
  const { live, run } = useConsole();
  const open = (job.problems ?? []).filter((it) => it.state === "open");
  if (open.length === 0 || job.terminal) return null;
  return (
    <Card aria-label="Problems">
      <h2>{open.length === 1 ? "A problem" : "Problems"}</h2>
      {open.map((problem) => (
        <div key={problem.id} class="problem">
          <p>
            <strong>{named(problem.kind)}</strong>
            {problem.store ? <> at {live.names.shop(job.pickup.mall, problem.store)}</> : null} <span class="muted">{ago(Date.parse(problem.at), now.value)}</span>
          </p>
          {problem.text ? <p class="breaks">“{problem.text}”</p> : null}
          {problem.answer ? (
            <p class="muted">Answered: {ANSWERS[problem.answer.action] ?? named(problem.answer.action)} {problem.answer.text}</p>
          ) : (
            <div class="commands">
              {Object.entries(ANSWERS).map(([action, label]) => (
                <Button key={action} size="small" onClick={() => run({ kind: "answer", job: job.id, problem: problem.id, action })}>
                  {label}
                </Button>
              ))}
              <Button size="small" onClick={() => run({ kind: "ask-instructions", job: job.id, problem: problem.id })}>
                Instructions…
              </Button>
            </div>
          )}
        </div>
      ))}
    </Card>
  );
}

function Timeline({ job }: { job: Job }): JSX.Element {
  const entries = [...(job.timeline ?? [])].reverse();
  return (
    <ol class="timeline">
      {entries.map((entry, index) => (
        <li key={`${entry.at}-${index}`}>
          <time dateTime={entry.at} title={new Date(entry.at).toLocaleString()}>{clock(Date.parse(entry.at), now.value)}</time>
          <div>
            <StateBadge state={entry.state} />
            <p class="muted">
              {named(entry.cause)} <span aria-hidden="true">·</span> <span class="mono breaks">{entry.actor}</span>
              {isReportedLater(entry) ? <>, happened {clock(Date.parse(entry.occurred_at), now.value)}</> : null}
            </p>
          </div>
        </li>
      ))}
    </ol>
  );
}

function isReportedLater(entry: TimelineEntry): entry is TimelineEntry & { occurred_at: string } {
  return entry.occurred_at !== undefined && Date.parse(entry.at) - Date.parse(entry.occurred_at) > LATER_MS;
}

function Explain({ id, stamp }: { id: string; stamp: string }): JSX.Element {
  const { value, fault } = useLoaded(`${id}/${stamp}`, () => call<Explanation>(`/v1/jobs/${encodeURIComponent(id)}/explain`));
  if (fault !== null && !value) return <Empty title="No explanation">{fault}</Empty>;
  if (!value) return <p class="loading">Loading…</p>;
  const rows = candidateRows(value);
  const terms = termNames(rows);
  return (
    <>
      <p class="muted">
        {value.round === 0 ? "No matching round yet" : <>Round {value.round}{value.at ? <>, {clock(Date.parse(value.at), now.value)}</> : null}</>}
        {value.radius_m ? <>, within {distance(value.radius_m)}</> : null}
        {value.capped ? ", the nearest only" : ""}
        {value.run_jobs > 1 ? <>, in a run of {value.run_jobs} orders</> : null}, {value.policy_version ? `policy version ${value.policy_version}` : "policy as configured"}
      </p>
      {rows.length === 0 ? (
        <Empty title="No candidates">
          {value.held_until ? `Held until ${clock(Date.parse(value.held_until), now.value)}.` : "No driver was in reach. The search goes on and widens; you can assign a driver by hand."}
        </Empty>
      ) : (
        <>
          <ul class="legend" aria-label="Parts of the cost">
            {terms.map((term, index) => (
              <li key={term}>
                <i class={`swatch term-${index % 6}`} aria-hidden="true" /> {named(term)}
              </li>
            ))}
          </ul>
          <div class="table-scroll" role="region" aria-label="Candidates" tabIndex={0}>
            <table class="table">
              <caption class="visually-hidden">Candidates of the last round, the best first</caption>
              <thead>
                <tr>
                  <th scope="col">#</th>
                  <th scope="col">Driver</th>
                  <th scope="col">Outcome</th>
                  <th scope="col" class="end">Cost</th>
                  <th scope="col" class="bar-column">Cost breakdown</th>
                  <th scope="col" class="end">At the shop in</th>
                  <th scope="col" class="end">Away</th>
                </tr>
              </thead>
              <tbody>
                {rows.map((row) => (
                  <CandidateLine key={row.candidate.driver} row={row} terms={terms} />
                ))}
              </tbody>
            </table>
          </div>
        </>
      )}
      {value.asked.length > 0 ? (
        <>
          <h2>Offered so far</h2>
          <ol class="asked">
            {value.asked.map((it, index) => (
              <li key={index}>
                <span class="muted">{clock(Date.parse(it.at), now.value)}</span> <span class="mono">{it.driver}</span>{" "}
                {named(it.outcome)}
                {it.reason ? <>: “{it.reason}”</> : null} <span class="muted">attempt {it.attempt}</span>
              </li>
            ))}
          </ol>
        </>
      ) : null}
    </>
  );
}

function CandidateLine({ row, terms }: { row: CandidateRow; terms: string[] }): JSX.Element {
  const { candidate } = row;
  const spoken = row.terms.map((term) => `${named(term.name)} ${term.seconds.toFixed(0)} s`).join(", ");
  return (
    <tr class={candidate.eligible ? "" : "ineligible"}>
      <td>{row.rank}</td>
      <td class="mono">{candidate.driver}</td>
      <td>{row.outcome ? named(row.outcome) : candidate.why_not ? named(candidate.why_not) : <span class="muted">–</span>}</td>
      <td class="end">
        {candidate.cost_s === null ? "–" : signed(candidate.cost_s)}
        {row.behindS ? <span class="muted"> +{duration(row.behindS)}</span> : null}
      </td>
      <td class="bar-column">
        <span class="bar" role="img" aria-label={spoken || "no cost"} title={spoken}>
          {row.terms
            .filter((term) => term.seconds > 0)
            .map((term) => (
              <i class={`term-${terms.indexOf(term.name) % 6}`} style={{ width: `${Math.abs(term.share) * 100}%` }} />
            ))}
        </span>
        {row.terms.some((term) => term.seconds < 0) ? (
          <span class="muted small">
            {" "}
            {row.terms.filter((term) => term.seconds < 0).map((term) => `${named(term.name)} −${duration(-term.seconds)}`).join(", ")}
          </span>
        ) : null}
      </td>
      <td class="end">{duration(candidate.eta_s)}</td>
      <td class="end">{distance(candidate.distance_m)}</td>
    </tr>
  );
}

/** What a driver costs can be less than nothing: a run shares its way. */
function signed(seconds: number): string {
  return seconds < 0 ? `−${duration(-seconds)}` : duration(seconds);
}

function Facts({ job }: { job: Job }): JSX.Element {
  const { live, run } = useConsole();
  const due = Date.parse(job.dropoff.deadline ?? job.expires_at);
  const drop = job.dropoff;
  return (
    <Card>
      <dl class="facts">
        <Fact name="Driver">
          {job.driver ? (
            <button type="button" class="link mono" onClick={() => run({ kind: "open", path: `/driver/${encodeURIComponent(job.driver ?? "")}` })}>
              {job.driver}
            </button>
          ) : (
            <span class="muted">none</span>
          )}
        </Fact>
        <Fact name="Due"><Due atMs={due} nowMs={now.value} /></Fact>
        <Fact name="Expected">
          {job.eta.dropoff ? clock(Date.parse(job.eta.dropoff), now.value) : <span class="muted">not known</span>}
        </Fact>
        {job.held ? (
          <Fact name="Held">
            {named(job.held.why)} at {live.names.shop(job.pickup.mall, job.held.store)} until {clock(Date.parse(job.held.until), now.value)}
          </Fact>
        ) : null}
        {job.reason ? <Fact name="Reason">{named(job.reason)}</Fact> : null}
        {job.cancel_reason ? <Fact name="Cancelled">{named(job.cancel_reason)} {job.cancel_note ?? ""}</Fact> : null}
        <Fact name="Attempt">{job.attempt}</Fact>
        <Fact name="Service">{named(job.service_level ?? "default")}</Fact>
        <Fact name="Parcels">
          {count(job.parcels.count, "parcel")}
          {job.parcels.weight_g ? <>, {(job.parcels.weight_g / 1000).toFixed(1)} kg</> : null}
        </Fact>
        {job.requires.length > 0 ? <Fact name="Requires">{job.requires.map(named).join(", ")}</Fact> : null}
        {job.pay ? <Fact name="Pay">{money(job.pay.amount_minor, job.pay.currency)}</Fact> : null}
      </dl>
      <h2>Shops</h2>
      <ul class="shops">
        {job.pickup.stores.map((shop) => (
          <li key={shop.store}>
            <span>{live.names.shop(job.pickup.mall, shop.store)}</span> <span class="muted">{count(shop.parcels ?? 1, "parcel")}</span> <StateBadge state={shop.state ?? "waiting"} />
          </li>
        ))}
      </ul>
      <p class="muted small">{live.names.mall(job.pickup.mall)}</p>
      <h2>Customer</h2>
      <p class="breaks">{drop.name ?? <span class="muted">no name</span>}</p>
      <p class="breaks">{drop.address ?? `${drop.lat.toFixed(5)}, ${drop.lon.toFixed(5)}`}</p>
      {drop.contact ? <p class="breaks">{drop.contact}</p> : null}
      {drop.note ? <p class="breaks">“{drop.note}”</p> : null}
      {job.tracking_url ? <p><a href={trackingLink(job.tracking_url)} target="_blank" rel="noreferrer">The customer’s page</a></p> : null}
      {Object.keys(job.metadata ?? {}).length > 0 ? (
        <>
          <h2>From the order service</h2>
          <dl class="facts">
            {Object.entries(job.metadata ?? {}).map(([name, value]) => (
              <Fact key={name} name={name}>{typeof value === "string" ? value : JSON.stringify(value)}</Fact>
            ))}
          </dl>
        </>
      ) : null}
    </Card>
  );
}

/** A link to its path here, so that text of an order can never lead to another site or run a script. */
function trackingLink(url: string): string {
  try {
    // With the origin: a path that begins with two slashes would be another host.
    return location.origin + new URL(url, location.origin).pathname;
  } catch {
    return "#";
  }
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt class="breaks">{name}</dt>
      <dd class="breaks">{children}</dd>
    </div>
  );
}
