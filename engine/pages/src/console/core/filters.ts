/** Filters of the lists, kept in the URL so that a link shows the same list. */

import type { Names } from "./places.ts";
import type { Driver, Job } from "./types.ts";

export interface JobFilter {
  states: string[];
  risk: string;
  mall: string;
  level: string;
  text: string;
  sort: string;
}

export const JOB_SORTS: Record<string, (job: Job) => number> = {
  due: (job) => Date.parse(job.dropoff.deadline ?? job.expires_at),
  age: (job) => Date.parse(job.created_at),
  updated: (job) => -Date.parse(job.updated_at),
};

export function jobFilter(query: URLSearchParams): JobFilter {
  const sort = query.get("sort") ?? "due";
  return {
    states: (query.get("state") ?? "").split(",").filter(Boolean),
    risk: query.get("risk") ?? "",
    mall: query.get("mall") ?? "",
    level: query.get("level") ?? "",
    text: query.get("q") ?? "",
    sort: Object.hasOwn(JOB_SORTS, sort) ? sort : "due",
  };
}

export function jobQuery(filter: JobFilter): URLSearchParams {
  const query = new URLSearchParams();
  if (filter.states.length > 0) query.set("state", filter.states.join(","));
  if (filter.risk) query.set("risk", filter.risk);
  if (filter.mall) query.set("mall", filter.mall);
  if (filter.level) query.set("level", filter.level);
  if (filter.text) query.set("q", filter.text);
  if (filter.sort !== "due") query.set("sort", filter.sort);
  return query;
}

/** Return the jobs that a filter names, sorted. Without states it names all that are open. */
export function filterJobs(jobs: Iterable<Job>, filter: JobFilter, names: Names): Job[] {
  const text = filter.text.toLowerCase();
  const states = new Set(filter.states);
  const key = JOB_SORTS[filter.sort] ?? JOB_SORTS["due"]!;
  const found: { job: Job; key: number }[] = [];
  for (const job of jobs) {
    if (states.size > 0 ? !states.has(job.state) : job.terminal) continue;
    if (filter.risk && (job.risk ?? "none") !== filter.risk) continue;
    if (filter.mall && job.pickup.mall !== filter.mall) continue;
    if (filter.level && job.service_level !== filter.level) continue;
    if (text && !haystack(job, names).includes(text)) continue;
    // Found once for each job: a sort compares each a dozen times.
    found.push({ job, key: key(job) });
  }
  return found.sort((a, b) => a.key - b.key || (a.job.id < b.job.id ? -1 : 1)).map((it) => it.job);
}

function haystack(job: Job, names: Names): string {
  const drop = job.dropoff;
  const shops = job.pickup.stores.flatMap((it) => [it.store, names.shop(job.pickup.mall, it.store)]);
  return [job.id, job.external_id, job.driver, drop.name, drop.address, ...shops]
    .join(" ")
    .toLowerCase();
}

export interface DriverFilter {
  state: string;
  text: string;
}

export function driverFilter(query: URLSearchParams): DriverFilter {
  return { state: query.get("state") ?? "", text: query.get("q") ?? "" };
}

export function driverQuery(filter: DriverFilter): URLSearchParams {
  const query = new URLSearchParams();
  if (filter.state) query.set("state", filter.state);
  if (filter.text) query.set("q", filter.text);
  return query;
}

export function filterDrivers(drivers: Iterable<Driver>, filter: DriverFilter): Driver[] {
  const text = filter.text.toLowerCase();
  const found: Driver[] = [];
  for (const driver of drivers) {
    if (filter.state && driver.state !== filter.state) continue;
    if (text && !`${driver.driver} ${driver.alias ?? ""} ${driver.jobs.join(" ")}`.toLowerCase().includes(text)) continue;
    found.push(driver);
  }
  return found.sort((a, b) => b.jobs.length - a.jobs.length || (a.driver < b.driver ? -1 : 1));
}
