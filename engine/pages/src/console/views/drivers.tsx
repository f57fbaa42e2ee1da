/** The drivers of the market. */

import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { now } from "../../shared/now.ts";
import { named } from "../../shared/words.ts";
import { countByState } from "../core/board.ts";
import { useConsole, useSelected } from "../context.ts";
import { driverFilter, driverQuery, filterDrivers, type DriverFilter } from "../core/filters.ts";
import { Grid, type Column } from "../grid.tsx";
import { Age, StateBadge } from "../marks.tsx";
import { route, setQuery } from "../router.ts";
import type { Driver } from "../core/types.ts";
import { Chip } from "./exceptions.tsx";

const STATES = ["available", "offered", "on_run", "paused", "offline"];

export function DriversView(): JSX.Element {
  const { live, run } = useConsole();
  const nowMs = now.value;
  const version = live.version.value;
  const [selected, setSelected] = useSelected("drivers");
  const filter = driverFilter(route.value.query);
  const rows = useMemo(() => filterDrivers(live.board.drivers.values(), filter), [version, route.value.query.toString()]);
  const change = (part: Partial<DriverFilter>): void => setQuery(driverQuery({ ...filter, ...part }));
  const counts = useMemo(() => countByState(live.board.drivers.values()), [version]);

  const columns: Column<Driver>[] = [
    { name: "Driver", width: "minmax(6rem, 1.5fr)", cell: (it) => <span class="mono">{it.driver}</span> },
    { name: "State", width: "7rem", cell: (it) => <StateBadge state={it.state} /> },
    { name: "Orders", width: "4.5rem", align: "end", wide: true, cell: (it) => it.jobs.length },
    { name: "Connection", width: "7rem", wide: true, cell: (it) => (it.connected ? "Connected" : <span class="overdue">Not connected</span>) },
    {
      name: "No offers because",
      width: "minmax(9rem, 1.5fr)",
      wide: true,
      cell: (it) => (it.barred ? named(it.barred.why) : <span class="muted">–</span>),
    },
    { name: "Vehicle", width: "6rem", wide: true, cell: (it) => (it.vehicle ? named(it.vehicle.kind) : "") },
    {
      name: "Position",
      width: "6.5rem",
      align: "end",
      cell: (it) => (it.at_ms ? <span><Age sinceMs={it.at_ms} nowMs={nowMs} /> old</span> : <span class="muted">none</span>),
    },
  ];

  return (
    <section class="view" aria-labelledby="drivers-title">
      <header class="view-head">
        <h1 id="drivers-title">
          Drivers <span class="muted count">{rows.length}</span>
        </h1>
        <div class="filters">
          <label class="visually-hidden" for="drivers-text">Find a driver by name or by an order</label>
          <input
            id="drivers-text"
            class="input input-search"
            type="search"
            placeholder="Driver or order ( / )"
            data-search
            value={filter.text}
            onInput={(event) => change({ text: event.currentTarget.value })}
          />
        </div>
        <div class="chips" role="group" aria-label="States">
          {STATES.map((state) => (
            <Chip label={named(state)} count={counts.get(state) ?? 0} isOn={filter.state === state} onClick={() => change({ state: filter.state === state ? "" : state })} />
          ))}
        </div>
      </header>
      <Grid
        label="Drivers"
        rows={rows}
        columns={columns}
        rowKey={(it) => it.driver}
        stamp={nowMs}
        selected={selected}
        onSelect={setSelected}
        onOpen={(it) => run({ kind: "open", path: `/driver/${encodeURIComponent(it.driver)}` })}
        empty={
          <>
            <strong>No drivers</strong>
            <p>{filter.text || filter.state ? "Nothing matches the filter. Change or clear it." : "No driver has been online in this market. Drivers sign in at /driver."}</p>
          </>
        }
      />
    </section>
  );
}
