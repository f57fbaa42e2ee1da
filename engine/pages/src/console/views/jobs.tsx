/** All orders of the market, filtered; the URL keeps the filter. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { now } from "../../shared/now.ts";
import { named } from "../../shared/words.ts";
import { countByState } from "../core/board.ts";
import { useConsole, useSelected } from "../context.ts";
import { filterJobs, jobFilter, jobQuery, type JobFilter } from "../core/filters.ts";
import { Grid, type Column } from "../grid.tsx";
import { Due, Risk, short, StateBadge } from "../marks.tsx";
import { route, setQuery } from "../router.ts";
import type { Job } from "../core/types.ts";
import { Chip } from "./exceptions.tsx";

const STATES = ["scheduled", "queued", "offered", "assigned", "at_mall", "picked_up", "returning", "delivered", "failed", "expired", "cancelled"];

export function JobsView(): JSX.Element {
  const { live, market, run } = useConsole();
  const nowMs = now.value;
  const version = live.version.value;
  const [selected, setSelected] = useSelected("orders");
  const filter = jobFilter(route.value.query);
  const counts = useMemo(() => countByState(live.board.jobs.values()), [version]);
  const rows = useMemo(() => filterJobs(live.board.jobs.values(), filter, live.names), [version, route.value.query.toString()]);
  const change = (part: Partial<JobFilter>): void => setQuery(jobQuery({ ...filter, ...part }));
  const toggle = (state: string): void =>
    change({ states: filter.states.includes(state) ? filter.states.filter((it) => it !== state) : [...filter.states, state] });

  const columns: Column<Job>[] = [
    {
      name: "Order",
      width: "minmax(6.5rem, 1.2fr)",
      cell: (job) => (
        <>
          <span class="mono" title={job.id}>{job.external_id ?? short(job.id)}</span>
          <span class="only-narrow"><Risk job={job} /> <span class="muted small">{job.driver ?? ""}</span></span>
        </>
      ),
    },
    { name: "State", width: "7.5rem", cell: (job) => <StateBadge state={job.state} /> },
    { name: "Risk", width: "6.5rem", wide: true, cell: (job) => <Risk job={job} /> },
    {
      name: "From",
      width: "minmax(8rem, 1.5fr)",
      wide: "widest",
      cell: (job) => <span title={live.names.mall(job.pickup.mall)}>{job.pickup.stores.map((it) => live.names.shop(job.pickup.mall, it.store)).join(", ")}</span>,
    },
    { name: "To", width: "minmax(8rem, 1.5fr)", wide: true, cell: (job) => job.dropoff.name ?? job.dropoff.address ?? "" },
    { name: "Driver", width: "minmax(6rem, 1fr)", wide: true, cell: (job) => <span class="mono">{job.driver ?? ""}</span> },
    { name: "Parcels", width: "4.5rem", align: "end", wide: "widest", cell: (job) => job.parcels.count },
    {
      name: "Due",
      width: "7rem",
      align: "end",
      cell: (job) => <Due atMs={Date.parse(job.dropoff.deadline ?? job.expires_at)} nowMs={nowMs} />,
    },
  ];

  return (
    <section class="view" aria-labelledby="jobs-title">
      <header class="view-head">
        <h1 id="jobs-title">
          Orders <span class="muted count">{rows.length}</span>
        </h1>
        <div class="filters">
          <label class="visually-hidden" for="jobs-text">Find by order, driver, customer or shop</label>
          <input
            id="jobs-text"
            class="input input-search"
            type="search"
            placeholder="Order, driver, customer, shop ( / )"
            data-search
            value={filter.text}
            onInput={(event) => change({ text: event.currentTarget.value })}
          />
          <Select label="Mall" value={filter.mall} onChange={(mall) => change({ mall })} options={market.malls.map((it) => [it.id, it.name])} />
          <Select label="Risk" value={filter.risk} onChange={(risk) => change({ risk })} options={[["late", "Late"], ["at_risk", "At risk"]]} />
          <Select
            label="Service"
            value={filter.level}
            onChange={(level) => change({ level })}
            options={[["express", "Express"], ["pooled", "Pooled"], ["same_day", "Same day"]]}
          />
          <Select
            label="Sort"
            value={filter.sort}
            none={null}
            onChange={(sort) => change({ sort })}
            options={[["due", "Due first"], ["age", "Oldest first"], ["updated", "Last changed first"]]}
          />
        </div>
        <div class="chips" role="group" aria-label="States">
          {STATES.map((state) => (
            <Chip label={named(state)} count={counts.get(state) ?? 0} isOn={filter.states.includes(state)} onClick={() => toggle(state)} />
          ))}
        </div>
      </header>
      <Grid
        label="Orders"
        rows={rows}
        columns={columns}
        rowKey={(job) => job.id}
        stamp={nowMs}
        selected={selected}
        onSelect={setSelected}
        onOpen={(job) => run({ kind: "open", path: `/job/${job.id}` })}
        empty={
          <>
            <strong>No orders</strong>
            <p>{filter.text || filter.states.length > 0 ? "Nothing matches the filter. Change or clear it." : "No order is open in this market."}</p>
          </>
        }
      />
    </section>
  );
}

export function Select(props: {
  label: string;
  value: string;
  options: [string, string][];
  /** The name of the empty value; null: there is none. */
  none?: string | null;
  onChange: (value: string) => void;
}): JSX.Element {
  return (
    <label class="select">
      <span>{props.label}</span>
      <select value={props.value} onChange={(event) => props.onChange(event.currentTarget.value)}>
        {props.none === null ? null : <option value="">{props.none ?? "All"}</option>}
        {props.options.map(([value, name]) => (
          <option value={value}>{name}</option>
        ))}
      </select>
    </label>
  );
}
