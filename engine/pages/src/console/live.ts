/** Keeps the board of a market current: a stream of events, lists read again after a gap. */

import { computed, signal } from "@preact/signals";
import { ApiError, line } from "../shared/api.ts";
import { call } from "../shared/session.ts";
import { all, at, openEvents, pages, Trimmed } from "./api.ts";
import { Board } from "./core/board.ts";
import { exceptions } from "./core/exceptions.ts";
import { namesOf, type Names } from "./core/places.ts";
import { now } from "../shared/now.ts";
import { pause } from "../shared/pause.ts";
import type { Alert, Driver, Job, Market } from "./core/types.ts";

export const OPEN_STATES = "scheduled,queued,offered,assigned,at_mall,picked_up,returning";
// A list of 3,000 rows is drawn at most this often, however many events come.
const DRAW_EVERY_MS = 250;
const DRIVERS_EVERY_MS = 10_000;
const ALERTS_EVERY_MS = 30_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;
// The line is dead when not even the stream's comments come any more; they come each 15 s.
const SILENT_AFTER_MS = 40_000;
// A call for drivers near a point: further than any market reaches.
const WHOLE_MARKET_M = 500_000;

export type LineState = "connecting" | "live" | "down";

export class Live {
  readonly board = new Board();
  /** Rises when the board has changed and is to be drawn. */
  readonly version = signal(0);
  /** What goes wrong now: found once for all that show it. */
  readonly exceptions = computed(() => {
    this.version.value;
    return exceptions(this.board.jobs.values(), this.board.drivers, this.board.alerts.values(), this.names, now.value);
  });
  /** The market itself has changed: it was paused, or its policy has a new version. */
  onMarketChanged: () => void = () => undefined;
  readonly state = signal<LineState>("connecting");
  /** Of the market's places, which do not change while a page is open. */
  readonly names: Names;
  private readonly stopping = new AbortController();
  private drawing = 0;

  constructor(readonly market: Market) {
    this.names = namesOf(market);
  }

  start(): void {
    void this.follow();
    void this.poll(DRIVERS_EVERY_MS, () => this.readDrivers());
    void this.poll(ALERTS_EVERY_MS, () => this.readAlerts());
  }

  stop(): void {
    this.stopping.abort();
    clearTimeout(this.drawing);
  }

  /** Draw soon what has changed. */
  draw(): void {
    if (this.drawing !== 0) return;
    this.drawing = setTimeout(() => {
      this.drawing = 0;
      this.version.value += 1;
    }, DRAW_EVERY_MS) as unknown as number;
  }

  private async follow(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!this.stopping.signal.aborted) {
      let askedS = 0;
      try {
        await this.stream(() => {
          retryMs = FIRST_RETRY_MS;
        });
      } catch (error) {
        if (this.stopping.signal.aborted) return;
        // The missed events are trimmed: start again with the lists.
        if (error instanceof Trimmed) this.board.lastEvent = null;
        if (error instanceof ApiError) {
          if (error.status === 401 || error.status === 403) return;
          askedS = error.retryAfterS ?? 0;
        }
      }
      this.state.value = "down";
      line.value = { ...line.value, isUp: false };
      await pause(askedS * 1000 + Math.random() * retryMs, this.stopping.signal);
      retryMs = Math.min(LAST_RETRY_MS, retryMs * 2);
    }
  }

  private async stream(onOpen: () => void): Promise<void> {
    const isAnew = this.board.lastEvent === null;
    const cut = new AbortController();
    const stop = () => cut.abort();
    let refusal: unknown;
    this.stopping.signal.addEventListener("abort", stop, { once: true });
    let watchdog = setTimeout(stop, SILENT_AFTER_MS);
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(stop, SILENT_AFTER_MS);
      line.value = { isUp: true, lastMs: Date.now() };
    };
    try {
      const events = await openEvents(this.market.id, this.board.lastEvent, cut.signal, heard);
      onOpen();
      heard();
      if (isAnew) this.board.opened();
      const lists = this.readAll().then(() => {
        this.state.value = "live";
      });
      lists.catch((error) => {
        refusal = error;
        stop();
      });
      for await (const event of events) {
        this.board.apply(event);
        if (event.type === "market.paused" || event.type === "market.resumed") this.onMarketChanged();
        this.draw();
      }
      await lists;
    } catch (error) {
      // A list that was refused has cut the stream, and says how long to wait.
      throw refusal ?? error;
    } finally {
      clearTimeout(watchdog);
      cut.abort();
      this.stopping.signal.removeEventListener("abort", stop);
    }
  }

  private async readAll(): Promise<void> {
    await Promise.all([this.readJobs(), this.readDrivers(), this.readAlerts()]);
  }

  private async readJobs(): Promise<void> {
    const query = { market: this.market.id, state: OPEN_STATES };
    const listed = new Set<string>();
    // Each page is shown as it comes: the newest orders need nobody to wait for the oldest.
    for await (const jobs of pages<Job>("/v1/jobs", query, this.stopping.signal)) {
      this.board.addJobs(jobs);
      for (const job of jobs) listed.add(job.id);
      this.draw();
    }
    this.board.dropJobs(listed);
    this.draw();
  }

  private async readDrivers(): Promise<void> {
    const [lon, lat] = centre(this.market);
    const near = `${lat.toFixed(5)},${lon.toFixed(5)}`;
    const path = `/v1/markets/${encodeURIComponent(this.market.id)}/drivers`;
    const found = await call<{ items: Driver[] }>(at(path, { near, radius_m: String(WHOLE_MARKET_M) }));
    this.board.loadDrivers(found.items);
    this.draw();
  }

  private async readAlerts(): Promise<void> {
    const query = { market: this.market.id, state: "open" };
    this.board.loadAlerts(await all<Alert>("/v1/alerts", query, this.stopping.signal));
    this.draw();
  }

  private async poll(everyMs: number, read: () => Promise<void>): Promise<void> {
    while (!this.stopping.signal.aborted) {
      await pause(everyMs, this.stopping.signal);
      if (this.state.value !== "live" || document.hidden) continue;
      await read().catch(() => undefined); // the stream says when the line is down
    }
  }
}

export function centre(market: Market): [number, number] {
  const ring = market.area.coordinates[0] ?? [];
  const lons = ring.map((point) => point[0] ?? 0);
  const lats = ring.map((point) => point[1] ?? 0);
  return [(Math.min(...lons) + Math.max(...lons)) / 2, (Math.min(...lats) + Math.max(...lats)) / 2];
}
