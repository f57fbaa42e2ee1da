/**
 * What the console knows of one market: jobs, drivers and alerts, kept current by events.
 *
 * Pure: it is given lists and events, and knows no network and no clock. A list may be older than
 * an event that came while it was read, so what events have changed since the stream was opened wins.
 */

import type { Alert, Driver, Job, LiveEvent } from "./types.ts";

// Ended jobs stay visible for a while, then make room: the board must not grow for a whole shift.
const MAX_ENDED = 500;
const DRIVER_STATES: Record<string, string> = {
  "driver.online": "available",
  "driver.offline": "offline",
};

export class Board {
  readonly jobs = new Map<string, Job>();
  readonly drivers = new Map<string, Driver>();
  readonly alerts = new Map<string, Alert>();
  /** The id of the last event that was applied: where a new stream begins. */
  lastEvent: string | null = null;
  /** Events applied so far. */
  applied = 0;
  /** Jobs and alerts that an event or an answer has changed since the stream was opened. */
  private readonly fresh = new Set<string>();
  private readonly sequences = new Map<string, number>();
  private ended: string[] = [];

  /** A stream has been opened without a place to resume from: what is known may be old. */
  opened(): void {
    this.fresh.clear();
  }

  /** Take open jobs of a market, a part of the list that is read after the stream was opened. */
  addJobs(jobs: Iterable<Job>): void {
    for (const job of jobs) if (!this.fresh.has(job.id)) this.put(job);
  }

  /** The list of the open jobs has been read: what is not on it has ended meanwhile. */
  dropJobs(listed: ReadonlySet<string>): void {
    for (const job of [...this.jobs.values()])
      if (!job.terminal && !listed.has(job.id) && !this.fresh.has(job.id)) this.jobs.delete(job.id);
  }

  /** Take the drivers of a market; positions that are newer than the list's stay. */
  loadDrivers(drivers: Iterable<Driver>): void {
    const listed = new Set<string>();
    for (const driver of drivers) {
      listed.add(driver.driver);
      const known = this.drivers.get(driver.driver);
      const isNewer = known?.at_ms != null && known.at_ms > (driver.at_ms ?? 0);
      this.drivers.set(
        driver.driver,
        isNewer ? { ...driver, lat: known.lat, lon: known.lon, at_ms: known.at_ms } : driver,
      );
    }
    for (const name of [...this.drivers.keys()]) if (!listed.has(name)) this.drivers.delete(name);
  }

  /** Take the open alerts. */
  loadAlerts(alerts: Iterable<Alert>): void {
    const listed = new Map([...alerts].map((alert) => [alert.id, alert]));
    for (const [id, alert] of this.alerts)
      if (alert.state === "open" && !listed.has(id) && !this.fresh.has(id)) this.alerts.delete(id);
    for (const [id, alert] of listed) if (!this.fresh.has(id)) this.alerts.set(id, alert);
  }

  /** Take one job as a call has just answered it. */
  putJob(job: Job): void {
    this.fresh.add(job.id);
    this.put(job);
  }

  /** An alert was acknowledged. */
  acknowledged(alert: string): void {
    this.fresh.add(alert);
    this.alerts.delete(alert);
  }

  /** Take one event. An event that came before, or an older one of the same job, changes nothing. */
  apply(event: LiveEvent): void {
    this.lastEvent = event.id;
    this.applied += 1;
    if (event.type === "job.driver_moved") this.moved(event);
    else if (event.type.startsWith("job.")) this.jobEvent(event);
    else if (event.type.startsWith("driver.")) this.driverEvent(event);
    else if (event.type === "alert.raised") this.alertRaised(event);
    else if (event.type === "alert.acknowledged") this.acknowledged(String(event.data["alert"] ?? ""));
  }

  private jobEvent(event: LiveEvent): void {
    const id = event.job;
    if (id === undefined || event.data["pickup"] === undefined) return;
    if (event.sequence <= (this.sequences.get(id) ?? 0)) return;
    this.sequences.set(id, event.sequence);
    this.fresh.add(id);
    const before = this.jobs.get(id);
    this.put({ ...(event.data as unknown as Job), id });
    this.releaseDriver(id, before?.driver ?? null);
  }

  /** A job went to another driver, or ended: the first no longer has it on its list. */
  private releaseDriver(id: string, before: string | null): void {
    const job = this.jobs.get(id);
    const now = job && !job.terminal ? job.driver : null;
    if (before && before !== now) this.editDriver(before, (it) => ({ ...it, jobs: it.jobs.filter((each) => each !== id) }));
    if (now && job?.state !== "offered")
      this.editDriver(now, (it) => (it.jobs.includes(id) ? it : { ...it, state: "on_run", jobs: [...it.jobs, id] }));
  }

  private moved(event: LiveEvent): void {
    const { lat, lon } = event.data as { lat?: number; lon?: number };
    if (event.driver === undefined || lat === undefined || lon === undefined) return;
    const at = Date.parse(event.occurred_at);
    this.editDriver(event.driver, (it) => ((it.at_ms ?? 0) > at ? it : { ...it, lat, lon, at_ms: at }));
  }

  private driverEvent(event: LiveEvent): void {
    if (event.driver === undefined) return;
    const isOn = event.type === "driver.online";
    const state = DRIVER_STATES[event.type];
    this.editDriver(event.driver, (it) => {
      if (event.type === "driver.suspended") return { ...it, suspended: true };
      if (event.type === "driver.resumed") return { ...it, suspended: false };
      if (state === undefined) return it;
      return { ...it, connected: isOn, state: it.jobs.length > 0 && isOn ? "on_run" : state };
    });
  }

  private alertRaised(event: LiveEvent): void {
    const { kind, alert, ...details } = event.data as { kind?: string; alert?: string };
    const id = alert ?? event.id;
    this.fresh.add(id);
    this.alerts.set(id, {
      id,
      market: event.market,
      what: kind ?? "alert",
      state: "open",
      at: event.recorded_at,
      ...(event.job === undefined ? {} : { job: event.job }),
      ...(event.driver === undefined ? {} : { driver: event.driver }),
      details,
    });
  }

  private editDriver(name: string, change: (driver: Driver) => Driver): void {
    const known = this.drivers.get(name);
    if (known) this.drivers.set(name, change(known));
  }

  private put(job: Job): void {
    const wasEnded = this.jobs.get(job.id)?.terminal ?? false;
    this.jobs.set(job.id, job);
    if (!job.terminal || wasEnded) return;
    this.ended.push(job.id);
    if (this.ended.length <= MAX_ENDED) return;
    for (const id of this.ended.splice(0, this.ended.length - MAX_ENDED)) {
      this.jobs.delete(id);
      this.sequences.delete(id);
      this.fresh.delete(id);
    }
  }
}

/** How many jobs are in each state. */
export function countByState(jobs: Iterable<{ state: string }>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const job of jobs) counts.set(job.state, (counts.get(job.state) ?? 0) + 1);
  return counts;
}
