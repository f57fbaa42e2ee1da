/**
 * Kept events, played back: what the market looked like at any moment of them.
 *
 * Pure. A step back would have to undo events, so a copy of the state is kept at even distances, and
 * a moment is reached from the last copy before it.
 */

import type { LiveEvent } from "./types.ts";

const COPY_EVERY = 256;

export interface ReplayedJob {
  id: string;
  state: string;
  mall: string;
  driver: string | null;
  lat: number;
  lon: number;
}

export interface Moment {
  jobs: Map<string, ReplayedJob>;
  drivers: Map<string, { lat: number; lon: number }>;
}

export class Recording {
  readonly times: number[] = [];
  private readonly events: LiveEvent[] = [];
  private readonly copies: Moment[] = [];

  /** Add events, in the order of their sequence. */
  add(events: Iterable<LiveEvent>): void {
    for (const event of events) {
      const last = this.events.at(-1);
      if (last && event.sequence <= last.sequence) continue;
      this.events.push(event);
      this.times.push(Date.parse(event.recorded_at));
    }
  }

  get length(): number {
    return this.events.length;
  }

  get span(): [number, number] {
    return [this.times[0] ?? 0, this.times.at(-1) ?? 0];
  }

  /** How many of the events had been recorded by a moment. */
  countBy(ms: number): number {
    let low = 0;
    let high = this.times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle]! <= ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The last events before a moment, the newest first; mere moves of drivers are left out. */
  before(ms: number, count: number): LiveEvent[] {
    const found: LiveEvent[] = [];
    for (let index = this.countBy(ms) - 1; index >= 0 && found.length < count; index -= 1) {
      const event = this.events[index]!;
      if (event.type !== "job.driver_moved") found.push(event);
    }
    return found;
  }

  /** The market as it was at a moment. */
  at(ms: number): Moment {
    const end = this.countBy(ms);
    let from = Math.min(Math.floor(end / COPY_EVERY), this.copies.length - 1);
    let moment = from >= 0 ? copy(this.copies[from]!) : { jobs: new Map(), drivers: new Map() };
    if (from < 0) {
      this.copies.push(copy(moment));
      from = 0;
    }
    for (let index = from * COPY_EVERY; index < end; index += 1) {
      play(moment, this.events[index]!);
      if ((index + 1) % COPY_EVERY === 0 && (index + 1) / COPY_EVERY === this.copies.length) this.copies.push(copy(moment));
    }
    return moment;
  }
}

function copy(moment: Moment): Moment {
  return { jobs: new Map(moment.jobs), drivers: new Map(moment.drivers) };
}

function play(moment: Moment, event: LiveEvent): void {
  const data = event.data as {
    state?: string;
    driver?: string | null;
    lat?: number;
    lon?: number;
    pickup?: { mall: string };
    dropoff?: { lat: number; lon: number };
  };
  if (event.type === "job.driver_moved") {
    if (event.driver && data.lat !== undefined && data.lon !== undefined)
      moment.drivers.set(event.driver, { lat: data.lat, lon: data.lon });
    return;
  }
  if (event.job === undefined || !data.pickup || !data.dropoff) return;
  moment.jobs.set(event.job, {
    id: event.job,
    state: data.state ?? "queued",
    mall: data.pickup.mall,
    driver: data.driver ?? null,
    lat: data.dropoff.lat,
    lon: data.dropoff.lon,
  });
}
