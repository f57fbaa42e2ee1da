/** Jobs, drivers and events for tests, each complete and changed where a test needs it. */

import type { Driver, Job, LiveEvent, Market } from "./types.ts";

export const NOON = Date.parse("2026-11-27T12:00:00Z");

export function at(seconds: number): string {
  return new Date(NOON + seconds * 1000).toISOString();
}

export function job(id: string, change: Partial<Job> = {}): Job {
  return {
    id,
    market: "phoenix",
    state: "queued",
    terminal: false,
    attempt: 1,
    driver: null,
    reason: null,
    created_at: at(0),
    updated_at: at(0),
    expires_at: at(7200),
    eta: { pickup: null, dropoff: null },
    pickup: { mall: "chandler", stores: [{ store: "lego", state: "waiting", parcels: 1 }] },
    dropoff: { lat: 33.3, lon: -111.8, deadline: at(7200) },
    parcels: { count: 1 },
    requires: [],
    priority: 0,
    risk: "none",
    ...change,
  };
}

export function driver(name: string, change: Partial<Driver> = {}): Driver {
  return { driver: name, state: "available", lat: 33.3, lon: -111.8, at_ms: NOON, jobs: [], connected: true, ...change };
}

/** A market of one mall in a wide area. */
export const MARKET = {
  id: "phoenix",
  name: "Phoenix",
  area: rectangle(-113, 32, -111, 34),
  malls: [{ id: "chandler", name: "Chandler", lat: 33.3, lon: -111.9, outline: rectangle(-111.91, 33.29, -111.89, 33.31), gates: [], stores: [{ id: "sees-candies", name: "See’s Candies", gate: "north", floor: 1 }] }],
} as unknown as Market;

function rectangle(west: number, south: number, east: number, north: number): Market["area"] {
  return { type: "Polygon", coordinates: [[[west, south], [east, south], [east, north], [west, north], [west, south]]] };
}

let last = 0;

export function event(type: string, change: Partial<LiveEvent> = {}): LiveEvent {
  last += 1;
  return {
    id: `evt_phoenix.${last}-0`,
    sequence: last,
    type,
    occurred_at: at(last),
    recorded_at: at(last),
    market: "phoenix",
    data: {},
    ...change,
  };
}

export function jobEvent(type: string, of: Job): LiveEvent {
  return event(type, { job: of.id, data: of as unknown as Record<string, unknown> });
}
