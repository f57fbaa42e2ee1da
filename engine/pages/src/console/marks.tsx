/** Small pieces that several views show. A state has a word and a shape besides its colour. */

import type { JSX } from "preact";
import { Badge, type Tone } from "../shared/components.tsx";
import { duration, named, until } from "../shared/words.ts";
import type { Job } from "./core/types.ts";

const TONES: Record<string, Tone> = {
  delivered: "ok",
  returned: "info",
  assigned: "info",
  at_mall: "info",
  picked_up: "info",
  offered: "info",
  returning: "warn",
  expired: "danger",
  lost: "danger",
  failed: "danger",
  available: "ok",
  on_run: "info",
  paused: "warn",
  // Of a shop.
  ready: "ok",
  collected: "ok",
  short: "warn",
  closed: "warn",
  missing: "danger",
};

export function StateBadge({ state }: { state: string }): JSX.Element {
  return <Badge tone={TONES[state] ?? "neutral"}>{named(state)}</Badge>;
}

export function Risk({ job }: { job: Job }): JSX.Element | null {
  if (job.risk === "late") return <Badge tone="danger">Late</Badge>;
  if (job.risk === "at_risk") return <Badge tone="warn">At risk</Badge>;
  return null;
}

export function Due({ atMs, nowMs }: { atMs: number | null; nowMs: number }): JSX.Element {
  if (atMs === null || !Number.isFinite(atMs)) return <span class="muted">–</span>;
  const isOver = atMs < nowMs;
  return (
    <time dateTime={new Date(atMs).toISOString()} title={new Date(atMs).toLocaleString()} class={isOver ? "overdue" : ""}>
      {until(atMs, nowMs)}
    </time>
  );
}

export function Age({ sinceMs, nowMs }: { sinceMs: number; nowMs: number }): JSX.Element {
  return (
    <time dateTime={new Date(sinceMs).toISOString()} title={new Date(sinceMs).toLocaleString()}>
      {duration((nowMs - sinceMs) / 1000)}
    </time>
  );
}

export function Key({ children }: { children: string }): JSX.Element {
  return <kbd aria-hidden="true">{children}</kbd>;
}

/** The last letters of a long id: enough to tell two rows apart. */
export function short(id: string): string {
  return id.length > 14 ? `…${id.slice(-8)}` : id;
}
