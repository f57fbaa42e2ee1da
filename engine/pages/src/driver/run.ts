/**
 * A driver's run as a list of stops, from the jobs that it holds.
 *
 * Pure. The engine gives the shops of each job in the order to visit and expected times; jobs of one
 * mall are collected together, so their shops are merged, and doors follow by expected time.
 */

import type { HeldJob, QueuedReport } from "@mallard/client";

export type Visit = HeldJob["detail"]["stores"][number];

/** What one job gets at a shop. */
export interface Pickup {
  job: HeldJob;
  visit: Visit;
}

export interface ShopStop {
  store: string;
  name: string;
  gate: string;
  floor: number;
  readyMs: number;
  pickups: Pickup[];
}

export interface MallStop {
  kind: "mall";
  mall: HeldJob["detail"]["mall"];
  shops: ShopStop[];
  jobs: HeldJob[];
  /** Its arrival was not reported yet. */
  isAhead: boolean;
}

export interface DoorStop {
  kind: "door";
  job: HeldJob;
}

export interface ReturnStop {
  kind: "return";
  job: HeldJob;
}

export interface MeetingStop {
  kind: "meeting";
  job: HeldJob;
}

export type Stop = MallStop | DoorStop | ReturnStop | MeetingStop;

const COLLECTING = new Set(["assigned", "at_mall", "picked_up"]);
const OPEN_SHOP = new Set(["waiting", "ready", "closed"]);

/** Whether a shop has said that it has fewer parcels than ordered, and waits with those. */
export function isShort(visit: Visit): boolean {
  return visit.state === "short" && !visit.collected_parcels;
}

/** Whether a shop of a job has still something to hand over. */
export function isToCollect(job: HeldJob, visit: Visit): boolean {
  return COLLECTING.has(job.state) && (OPEN_SHOP.has(visit.state ?? "waiting") || isShort(visit));
}

/**
 * Returns the jobs as they are once the reports that wait have been taken: a driver without a line
 * goes on with the next stop. `handedOver`: jobs whose proofs wait besides.
 */
export function asReported(jobs: Iterable<HeldJob>, queued: readonly QueuedReport[], handedOver: readonly string[] = []): HeldJob[] {
  const gone = new Set(handedOver);
  const shown = new Map([...jobs].map((job) => [job.job, job]));
  for (const report of queued) {
    const job = shown.get(report.job);
    if (!job) continue;
    if (ENDS.has(report.step)) gone.add(report.job);
    else shown.set(report.job, after(job, report));
  }
  return [...shown.values()].filter((job) => !gone.has(job.job));
}

const ENDS = new Set<string>(["delivered", "returned", "give_up"]);
const STATES: Record<string, string> = {
  at_mall: "at_mall",
  collected: "picked_up",
  picked_up: "picked_up",
  returning: "returning",
  resume: "picked_up",
};

function after(job: HeldJob, report: QueuedReport): HeldJob {
  const state = report.parcels === 0 ? job.state : (STATES[report.step] ?? job.state);
  const stores = job.detail.stores.map((visit) => {
    if (report.step === "collected" && visit.store === report.store)
      return { ...visit, state: report.parcels === 0 ? "missing" : "collected" };
    return report.step === "picked_up" ? { ...visit, state: "collected" } : visit;
  });
  return { ...job, state, detail: { ...job.detail, state, stores } };
}

/**
 * Returns the stops of a run, the next one first.
 *
 * Args:
 *   front: a job at whose door the driver is; an order that comes then does not take its place.
 */
export function stopsOf(jobs: Iterable<HeldJob>, front?: string): Stop[] {
  const held = [...jobs];
  const transfers = held.filter((job) => job.detail.kind === "transfer");
  const orders = held.filter((job) => job.detail.kind !== "transfer");
  const returns = orders.filter((job) => job.state === "returning");
  const doors = orders.filter((job) => job.state === "picked_up" && !job.detail.stores.some((it) => isToCollect(job, it)));
  const byDoor = (job: HeldJob): number => job.detail.eta.dropoff_ms ?? job.detail.dropoff.deadline_ms;
  doors.sort((a, b) => byDoor(a) - byDoor(b));
  const door = (job: HeldJob): Stop => ({ kind: "door", job });
  return [
    ...doors.filter((job) => job.job === front).map(door),
    ...transfers.map((job): Stop => ({ kind: "meeting", job })),
    ...malls(orders.filter((job) => job.detail.stores.some((it) => isToCollect(job, it)))),
    ...doors.filter((job) => job.job !== front).map(door),
    ...returns.map((job): Stop => ({ kind: "return", job })),
  ];
}

function malls(jobs: HeldJob[]): MallStop[] {
  const found = new Map<string, MallStop>();
  for (const job of jobs) {
    const { mall } = job.detail;
    const stop = found.get(mall.id) ?? { kind: "mall", mall, shops: [], jobs: [], isAhead: false };
    found.set(mall.id, stop);
    stop.jobs.push(job);
    if (job.state === "assigned") stop.isAhead = true;
    for (const visit of job.detail.stores) if (isToCollect(job, visit)) add(stop.shops, job, visit);
  }
  // Where the jobs agree on no order, the nearest way is floor by floor, gate by gate.
  for (const stop of found.values())
    if (stop.jobs.length > 1) stop.shops.sort((a, b) => a.floor - b.floor || a.gate.localeCompare(b.gate));
  return [...found.values()];
}

function add(shops: ShopStop[], job: HeldJob, visit: Visit): void {
  const shop = shops.find((it) => it.store === visit.store);
  if (shop) {
    shop.pickups.push({ job, visit });
    shop.readyMs = Math.max(shop.readyMs, visit.ready_ms);
    return;
  }
  const { store, name, gate, floor } = visit;
  shops.push({ store, name, gate, floor, readyMs: visit.ready_ms, pickups: [{ job, visit }] });
}

/** Returns what is still wanted at the door: proofs by kind, once each. */
export function proofsWanted(job: HeldJob): string[] {
  const wanted = new Set<string>(job.detail.proof_required ?? []);
  if (job.detail.requires.includes("id_check")) wanted.add("age_check");
  return [...wanted];
}

/** The address for the phone's own navigation; every platform opens it. */
export function directions(lat: number, lon: number): string {
  return `https://www.google.com/maps/dir/?api=1&destination=${lat.toFixed(6)},${lon.toFixed(6)}`;
}
