/**
 * The exceptions of a market: what goes wrong now, and what a dispatcher can do about each.
 *
 * Pure: from what the board knows to rows, the most urgent first. An action is data; `commands.ts`
 * carries it out.
 */

import { count, named } from "../../shared/words.ts";
import type { Command } from "./commands.ts";
import type { Names } from "./places.ts";
import type { Alert, Driver, Job, Problem } from "./types.ts";

/** `now`: somebody waits. `soon`: it will be late unless something changes. `watch`: be aware. */
export type Severity = "now" | "soon" | "watch";

export interface Action {
  /** The key that does it on the selected row. */
  key: string;
  label: string;
  command: Command;
  /** The question before a step that cannot be taken back. */
  confirm?: string;
}

export interface ExceptionRow {
  id: string;
  group: Group;
  severity: Severity;
  title: string;
  detail: string;
  job?: Job;
  driver?: string;
  sinceMs: number;
  dueMs: number | null;
  actions: Action[];
}

export const GROUPS = {
  alert: "Alerts",
  late: "Late and at risk",
  held: "Missing and held",
  unassigned: "Unassigned",
  undeliverable: "Undeliverable",
  returning: "Returns",
  silent: "Silent with parcels",
} as const;
export type Group = keyof typeof GROUPS;

// A job that waits longer than this without a driver is worth a look.
export const UNASSIGNED_AFTER_MS = 120_000;
// A driver that has parcels and no connection for this long.
export const SILENT_AFTER_MS = 60_000;

const RANK: Record<Severity, number> = { now: 0, soon: 1, watch: 2 };
const ORDER = Object.keys(GROUPS) as Group[];
const DOOR_PROBLEMS = new Set(["customer_unreachable", "refused", "wrong_address"]);
const ON_BOARD = new Set(["picked_up", "returning"]);
const BEFORE_PICKUP = new Set(["assigned", "at_mall"]);
const TITLES: Record<string, string> = {
  driver_silent: "Driver is silent",
  accident: "Accident reported",
  unsafe: "Driver feels unsafe",
  two_claim_a_parcel: "Two drivers claim a parcel",
  parcel_of_ended_job: "A driver has a parcel of an ended order",
  unknown_job_held: "A driver holds an unknown order",
  unknown_attempt_held: "A driver claims an order under an unknown assignment",
  custody_after_lost_writes: "A driver got an order back after a data loss",
  job_lost: "A confirmed order is lost: it must be ordered again",
  holder_unknown: "No one knows which driver has the parcels",
  nothing_on_board: "Nothing is on board",
  wrong_code: "Wrong PIN, three times",
  wrong_handover_code: "Wrong handover code, five times",
  return_place_closed: "The return place has closed",
  transfer_failed: "No driver came for a transfer",
  dead_letter: "An order is set aside after repeated errors",
  archive_behind: "The archive is behind",
};

/** How many rows each group has. */
export function countByGroup(rows: Iterable<ExceptionRow>): Map<Group, number> {
  const counts = new Map<Group, number>();
  for (const row of rows) counts.set(row.group, (counts.get(row.group) ?? 0) + 1);
  return counts;
}

/** Return the rows, the most urgent first. */
export function exceptions(
  jobs: Iterable<Job>,
  drivers: ReadonlyMap<string, Driver>,
  alerts: Iterable<Alert>,
  names: Names,
  nowMs: number,
): ExceptionRow[] {
  const rows: ExceptionRow[] = [];
  const open = [...jobs].filter((job) => !job.terminal);
  const byId = new Map(open.map((job) => [job.id, job]));
  for (const alert of alerts) if (alert.state === "open") rows.push(alertRow(alert, names, alert.job === undefined ? undefined : byId.get(alert.job)));
  for (const job of open) for (const row of jobRows(job, names, waits(job, nowMs))) rows.push(row);
  rows.push(...silentRows(open, drivers, nowMs));
  return rows.sort(
    (a, b) =>
      RANK[a.severity] - RANK[b.severity] ||
      ORDER.indexOf(a.group) - ORDER.indexOf(b.group) ||
      (a.dueMs ?? Infinity) - (b.dueMs ?? Infinity) ||
      a.sinceMs - b.sinceMs ||
      (a.id < b.id ? -1 : 1),
  );
}

// The same row for the same alert and job, so that a list can tell at once that nothing has changed.
const alertRows = new WeakMap<Alert, ExceptionRow>();

function alertRow(alert: Alert, names: Names, job: Job | undefined): ExceptionRow {
  const known = alertRows.get(alert);
  if (known && known.job === job) return known;
  const made = newAlertRow(alert, names, job);
  alertRows.set(alert, made);
  return made;
}

function newAlertRow(alert: Alert, names: Names, job: Job | undefined): ExceptionRow {
  const actions: Action[] = [
    { key: "a", label: "Acknowledge", command: { kind: "acknowledge", alert: alert.id } },
  ];
  if (alert.job !== undefined) actions.push(openJob(alert.job));
  if (alert.driver !== undefined) actions.push(openDriver(alert.driver));
  return {
    id: `alert/${alert.id}`,
    group: "alert",
    severity: "now",
    title: TITLES[alert.what] ?? named(alert.what),
    detail: factsOf(alert, names).join(" · "),
    ...(job ? { job } : {}),
    ...(alert.driver === undefined ? {} : { driver: alert.driver }),
    sinceMs: Date.parse(alert.at),
    dueMs: null,
    actions,
  };
}

/** What an alert says, the driver's own words first. */
function factsOf({ details = {} }: Alert, names: Names): string[] {
  const { text, mall, store, service: _, ...others } = details;
  const facts: string[] = [];
  if (typeof text === "string" && text !== "") facts.push(`“${text}”`);
  if (typeof mall === "string") facts.push(typeof store === "string" ? `${names.shop(mall, store)}, ${names.mall(mall)}` : names.mall(mall));
  for (const [name, value] of Object.entries(others))
    if (typeof value !== "object") facts.push(`${named(name)}: ${typeof value === "string" ? named(value) : String(value)}`);
  return facts;
}

/** Whether nobody has taken a job for too long. */
function waits(job: Job, nowMs: number): boolean {
  const isSought = (job.state === "queued" || job.state === "offered") && !job.held;
  return isSought && nowMs - Date.parse(job.created_at) > UNASSIGNED_AFTER_MS;
}

const rowsOf = new WeakMap<Job, { hasWaited: boolean; rows: ExceptionRow[] }>();

function jobRows(job: Job, names: Names, hasWaited: boolean): ExceptionRow[] {
  const known = rowsOf.get(job);
  if (known && known.hasWaited === hasWaited) return known.rows;
  const rows = newJobRows(job, names, hasWaited);
  rowsOf.set(job, { hasWaited, rows });
  return rows;
}

function newJobRows(job: Job, names: Names, hasWaited: boolean): ExceptionRow[] {
  const rows: ExceptionRow[] = [];
  if (job.risk === "late" || job.risk === "at_risk") rows.push(riskRow(job, names));
  if (job.held) rows.push(heldRow(job, names, job.held));
  if (hasWaited) rows.push(unassignedRow(job, names));
  const problem = job.problems?.find((it) => it.state === "open" && DOOR_PROBLEMS.has(it.kind) && !it.answer);
  if (problem && job.state === "picked_up") rows.push(doorRow(job, names, problem));
  if (job.state === "returning") rows.push(returnRow(job, names));
  return rows;
}

function riskRow(job: Job, names: Names): ExceptionRow {
  const isLate = job.risk === "late";
  const actions = [openJob(job.id), why(job)];
  if (BEFORE_PICKUP.has(job.state))
    actions.push({
      key: "u",
      label: "Unassign",
      command: { kind: "unassign", job: job.id, reason: isLate ? "late" : "at risk" },
      confirm: "Unassign this order and look for another driver?",
    });
  if (!ON_BOARD.has(job.state)) actions.push(assign(job));
  return row(job, "late", isLate ? "now" : "soon", isLate ? "Late" : "At risk", describe(job, names), actions);
}

function heldRow(job: Job, names: Names, held: NonNullable<Job["held"]>): ExceptionRow {
  const actions: Action[] = [
    { key: "y", label: "It is ready", command: { kind: "ready", job: job.id, store: held.store } },
    {
      key: "c",
      label: "Cancel",
      command: { kind: "cancel", job: job.id, reason: "out_of_stock" },
      confirm: "Cancel this order as out of stock?",
    },
    openJob(job.id),
  ];
  const isAbsent = held.why === "missing" || held.why === "short";
  return {
    ...row(job, "held", isAbsent ? "soon" : "watch", HELD[held.why] ?? named(held.why), `at ${names.shop(job.pickup.mall, held.store)}`, actions),
    dueMs: Date.parse(held.until),
  };
}

const HELD: Record<string, string> = {
  missing: "Parcels are missing",
  short: "Parcels are short",
  not_ready: "Not ready",
  store_closed: "Shop is closed",
};

function unassignedRow(job: Job, names: Names): ExceptionRow {
  return row(job, "unassigned", "soon", job.state === "offered" ? "Offered, not taken yet" : "No driver yet", describe(job, names), [
    assign(job),
    why(job),
    openJob(job.id),
  ]);
}

function doorRow(job: Job, names: Names, problem: Problem): ExceptionRow {
  const needsHandover = job.requires.includes("id_check");
  const answers: [string, string, string][] = [
    ["r", "retry", "Try again"],
    ["l", "leave", "Leave at door"],
    ["b", "return", "Bring it back"],
    ["w", "wait", "Wait"],
  ];
  const actions: Action[] = answers
    .filter(([, action]) => !(needsHandover && action === "leave"))
    .map(([key, action, label]) => ({
      key,
      label,
      command: { kind: "answer", job: job.id, problem: problem.id, action },
    }));
  const text = problem.text ? `“${problem.text}”` : describe(job, names);
  return {
    ...row(job, "undeliverable", "now", named(problem.kind), text, [...actions, openJob(job.id)]),
    sinceMs: Date.parse(problem.at),
    dueMs: problem.until ? Date.parse(problem.until) : null,
  };
}

function returnRow(job: Job, names: Names): ExceptionRow {
  const place = job.return_to;
  const to = place ? `to ${place.kind === "station" ? names.mall(place.mall) : names.shop(place.mall, place.store)}` : "no place yet";
  const reason = job.reason ? `${named(job.reason)}, ` : "";
  return row(job, "returning", "watch", "Coming back", `${reason}${to}`, [
    openJob(job.id),
    {
      key: "x",
      label: "Close as returned",
      command: { kind: "close", job: job.id, state: "returned", reason: "received" },
      confirm: "Close this order as returned? Do so only if the parcels are back.",
    },
  ]);
}

function silentRows(open: Job[], drivers: ReadonlyMap<string, Driver>, nowMs: number): ExceptionRow[] {
  const onBoard = new Map<string, Job[]>();
  for (const job of open)
    if (job.driver && ON_BOARD.has(job.state)) {
      const jobs = onBoard.get(job.driver);
      if (jobs) jobs.push(job);
      else onBoard.set(job.driver, [job]);
    }
  const rows: ExceptionRow[] = [];
  for (const [name, jobs] of onBoard) {
    const driver = drivers.get(name);
    const seenMs = Math.max(driver?.at_ms ?? 0, driver?.last_seen ? Date.parse(driver.last_seen) : 0);
    if (!driver || driver.connected || nowMs - seenMs < SILENT_AFTER_MS) continue;
    const parcels = jobs.reduce((sum, job) => sum + job.parcels.count, 0);
    rows.push({
      id: `silent/${name}`,
      group: "silent",
      severity: "now",
      title: "Driver is silent with parcels",
      detail: `${count(jobs.length, "order")}, ${count(parcels, "parcel")} on board`,
      driver: name,
      sinceMs: seenMs,
      dueMs: Math.min(...jobs.map(dueMs).map((due) => due ?? Infinity)),
      actions: [
        openDriver(name),
        {
          key: "t",
          label: "Send another driver",
          command: { kind: "transfer", market: driverMarket(jobs), driver: name },
          confirm: "Send another driver to take over all parcels on board?",
        },
      ],
    });
  }
  return rows;
}

function driverMarket(jobs: Job[]): string {
  return jobs[0]?.market ?? "";
}

function row(job: Job, group: Group, severity: Severity, title: string, detail: string, actions: Action[]): ExceptionRow {
  return {
    id: `${group}/${job.id}`,
    group,
    severity,
    title,
    detail,
    job,
    ...(job.driver ? { driver: job.driver } : {}),
    sinceMs: Date.parse(group === "unassigned" ? job.created_at : job.updated_at),
    dueMs: dueMs(job),
    actions,
  };
}

function dueMs(job: Job): number | null {
  const onBoard = ON_BOARD.has(job.state);
  const due = onBoard ? job.dropoff.deadline : job.expires_at;
  return due ? Date.parse(due) : null;
}

function describe(job: Job, names: Names): string {
  const shops = job.pickup.stores.map((shop) => names.shop(job.pickup.mall, shop.store)).join(", ");
  return `${shops} · ${named(job.state).toLowerCase()}`;
}

function openJob(job: string): Action {
  return { key: "o", label: "Open", command: { kind: "open", path: `/job/${encodeURIComponent(job)}` } };
}

function openDriver(driver: string): Action {
  return { key: "d", label: "Driver", command: { kind: "open", path: `/driver/${encodeURIComponent(driver)}` } };
}

function why(job: Job): Action {
  return { key: "e", label: "Why?", command: { kind: "open", path: `/job/${encodeURIComponent(job.id)}?tab=explain` } };
}

function assign(job: Job): Action {
  return { key: "s", label: "Assign…", command: { kind: "ask-assign", job: job.id } };
}
