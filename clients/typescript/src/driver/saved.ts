/**
 * The document that a driver app keeps in its `Storage`: jobs, wanted status and reports.
 *
 * It is the JSON of the Python client. Times are by the server's clock if that was known, else by
 * the device's. Unreadable parts are left out, as a partial document is better than none.
 */

import type { Held, Wish } from "../contract.js";
import type { Clock, Moment } from "./clock.js";
import type { Report } from "./reporting/reports.js";

/** What the driver wants, and until when. */
export interface Intent {
  wish: Wish;
  until?: Moment;
}

/** What outlives the app. `owner`: market and driver; missing before the first `welcome`. */
export interface Kept {
  owner?: readonly [string, string];
  intent?: Intent;
  reports: Report[];
  holds: Held[];
}

interface SavedTime {
  ms: number;
  by_server: boolean;
}

export function encodeSaved(kept: Kept, clock: Clock): string {
  const { intent } = kept;
  return JSON.stringify({
    owner: kept.owner ?? null,
    wish: intent && { wish: intent.wish, until: intent.until && saved(intent.until, clock) },
    reports: kept.reports.map(({ call: _call, at, ...report }) => ({
      ...report,
      at: saved(at, clock),
    })),
    holds: kept.holds,
  });
}

/** Decode a document without its unreadable parts. */
export function decodeSaved(document: string | null | undefined, clock: Clock): Kept {
  const { owner, wish, reports, holds } = record(parsed(document ?? "{}"));
  const { wish: wanted, until } = record(wish);
  return {
    owner: isOwner(owner) ? owner : undefined,
    intent: isText(wanted)
      ? { wish: wanted as Wish, until: isTime(until) ? moment(until, clock) : undefined }
      : undefined,
    reports: list(reports).filter(isReport).map((report) => ({
      ...without(report),
      at: moment(report.at, clock),
    })),
    holds: list(holds).filter(isHeld),
  };
}

function saved(at: Moment, clock: Clock): SavedTime {
  const lasting = clock.lasting(at);
  if (lasting.byServer) return { ms: lasting.ms, by_server: true };
  return { ms: Math.round(clock.wallMs - (clock.upMs - lasting.ms)), by_server: false };
}

function moment(at: SavedTime, clock: Clock): Moment {
  return at.by_server ? { ms: at.ms, byServer: true } : clock.at(at.ms);
}

type SavedReport = Omit<Report, "at" | "call"> & { at: SavedTime };

/** The fields of a report; null, as the Python client writes it, is absent. */
function without({ at: _at, ...report }: SavedReport): Omit<Report, "at"> {
  const fields = Object.entries(report).filter(([, value]) => value !== null);
  return Object.fromEntries(fields) as unknown as Omit<Report, "at">;
}

function parsed(document: string): unknown {
  try {
    return JSON.parse(document);
  } catch {
    return {};
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isOwner(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 && value.every(isText);
}

function isTime(value: unknown): value is SavedTime {
  const { ms, by_server } = record(value);
  return Number.isFinite(ms) && typeof by_server === "boolean";
}

function isHeld(value: unknown): value is Held {
  const { job, attempt, state } = record(value);
  return isText(job) && Number.isInteger(attempt) && isText(state);
}

function isReport(value: unknown): value is SavedReport {
  const { job, attempt, step, at } = record(value);
  return isText(job) && Number.isInteger(attempt) && isText(step) && isTime(at);
}
