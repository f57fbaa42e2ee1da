/** The first page: what goes wrong now, each row with what to do about it. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { Badge, Button, Dialog } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { useConsole, useSelected } from "../context.ts";
import { countByGroup, GROUPS, type ExceptionRow, type Group } from "../core/exceptions.ts";
import { Grid, useMedia, WIDE, type Column } from "../grid.tsx";
import { Age, Due, Key, short } from "../marks.tsx";
import { route, setQuery } from "../router.ts";

const SEVERITIES = { now: "Now", soon: "Soon", watch: "Watch" } as const;
const TONE = { now: "danger", soon: "warn", watch: "info" } as const;
const SHOWN_ACTIONS = 3;

export function ExceptionsView(): JSX.Element {
  const { live, run } = useConsole();
  const nowMs = now.value;
  const [selected, setSelected] = useSelected("exceptions");
  const [sheet, setSheet] = useState<ExceptionRow | null>(null);
  const isWide = useMedia(WIDE);
  const group = route.value.query.get("group") as Group | null;
  const all = live.exceptions.value;
  const counts = countByGroup(all);
  const rows = group ? all.filter((row) => row.group === group) : all;
  const choose = (next: Group | null): void => setQuery(new URLSearchParams(next ? { group: next } : {}));

  const act = (row: ExceptionRow, key: string): boolean => {
    if (key === ".") {
      setSheet(row);
      return true;
    }
    const action = row.actions.find((it) => it.key === key);
    if (!action) return false;
    run(action.command, action.confirm);
    return true;
  };

  const columns: Column<ExceptionRow>[] = [
    {
      name: "Urgency",
      width: "6rem",
      wide: true,
      cell: (row) => <Badge tone={TONE[row.severity]}>{SEVERITIES[row.severity]}</Badge>,
    },
    {
      name: "What",
      width: "minmax(10rem, 1.5fr)",
      cell: (row) => (
        <span class={`what what-${row.severity}`} title={row.detail}>
          <span class="only-narrow">
            <Badge tone={TONE[row.severity]}>{SEVERITIES[row.severity]}</Badge>{" "}
          </span>
          <strong>{row.title}</strong>{" "}
          <span class="muted">
            {row.job ? <span class="only-narrow mono">{row.job.external_id ?? short(row.job.id)} </span> : null}
            {row.detail}
          </span>
        </span>
      ),
    },
    {
      name: "Order",
      width: "minmax(6rem, 0.6fr)",
      wide: true,
      cell: (row) => (row.job ? <span class="mono" title={row.job.id}>{row.job.external_id ?? short(row.job.id)}</span> : ""),
    },
    { name: "Driver", width: "minmax(6rem, 0.6fr)", wide: "widest", cell: (row) => <span class="mono">{row.driver ?? ""}</span> },
    { name: "For", width: "4.5rem", align: "end", cell: (row) => <Age sinceMs={row.sinceMs} nowMs={nowMs} /> },
    { name: "Due", width: "7.5rem", align: "end", wide: "widest", cell: (row) => <Due atMs={row.dueMs} nowMs={nowMs} /> },
    {
      name: "What to do",
      width: "var(--actions)",
      wide: true,
      cell: (row) => <Actions row={row} />,
    },
  ];

  return (
    <section class="view" aria-labelledby="exceptions-title">
      <header class="view-head">
        <h1 id="exceptions-title">Exceptions</h1>
        <div class="chips" role="group" aria-label="Kinds of exceptions">
          <Chip label="All" count={all.length} isOn={group === null} onClick={() => choose(null)} />
          {(Object.keys(GROUPS) as Group[]).map((it) => (
            <Chip
              label={GROUPS[it]}
              count={counts.get(it) ?? 0}
              isOn={group === it}
              onClick={() => choose(group === it ? null : it)}
            />
          ))}
        </div>
      </header>
      <Grid
        label="Exceptions"
        rows={rows}
        columns={columns}
        rowKey={(row) => row.id}
        rowClass={(row) => `severity-${row.severity}`}
        stamp={nowMs}
        selected={selected}
        onSelect={setSelected}
        onOpen={(row) => {
          // Without room for the buttons a row opens what can be done.
          if (!isWide) return setSheet(row);
          const open = row.actions.find((it) => it.command.kind === "open");
          if (open) run(open.command);
        }}
        onKey={act}
        empty={
          <>
            <strong>{group ? "Nothing here" : "Nothing needs attention"}</strong>
            <p>{group ? "There are none of this kind right now." : "All orders are on track. This page updates automatically."}</p>
          </>
        }
      />
      {sheet ? <Sheet row={sheet} onClose={() => setSheet(null)} /> : null}
    </section>
  );
}

/** All that can be done about a row: for a thumb, and where the row has no room. */
function Sheet({ row, onClose }: { row: ExceptionRow; onClose: () => void }): JSX.Element {
  const { run } = useConsole();
  return (
    <Dialog title={row.title} onClose={onClose}>
      <p class="breaks muted">
        {[row.detail, row.job?.external_id ?? row.job?.id, row.driver].filter(Boolean).join(" · ")}
      </p>
      <div class="sheet">
        {row.actions.map((action) => (
          <Button
            key={action.label}
            onClick={() => {
              onClose();
              run(action.command, action.confirm);
            }}
          >
            {action.label}
          </Button>
        ))}
        <Button kind="quiet" onClick={onClose}>
          Close
        </Button>
      </div>
    </Dialog>
  );
}

function Actions({ row }: { row: ExceptionRow }): JSX.Element {
  const { run } = useConsole();
  return (
    <span class="row-actions">
      {row.actions.slice(0, SHOWN_ACTIONS).map((action) => (
        <Button
          size="small"
          tabIndex={-1}
          aria-keyshortcuts={action.key}
          onClick={() => run(action.command, action.confirm)}
        >
          <Key>{action.key}</Key> {action.label}
        </Button>
      ))}
    </span>
  );
}

export function Chip(props: { label: string; count?: number; isOn: boolean; onClick: () => void }): JSX.Element {
  return (
    <button type="button" class="chip" aria-pressed={props.isOn} onClick={props.onClick}>
      {props.label} {props.count === undefined ? null : <span class="chip-count">{props.count}</span>}
    </button>
  );
}
