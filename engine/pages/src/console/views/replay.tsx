/** The last 24 hours, played back from the kept events. */

import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { inWords } from "../../shared/api.ts";
import { Button, Empty } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { clock, named } from "../../shared/words.ts";
import { openKeptEvents } from "../api.ts";
import { countByState } from "../board.ts";
import { useConsole } from "../context.ts";
import { MarketMap, type Layer } from "../map.tsx";
import { points } from "../map-layers.ts";
import { short } from "../marks.tsx";
import { Recording } from "../replay.ts";
import { DRIVER_PAINT } from "./map.tsx";

// The stream goes on for ever: what was kept has been read when nothing has come for this long.
const QUIET_MS = 1_500;
const SPEEDS = [1, 10, 60];
const TICK_MS = 100;
const RECENT = 12;
const OPEN = new Set(["scheduled", "queued", "offered", "assigned", "at_mall", "picked_up", "returning"]);
const STATE_PAINT = {
  "circle-radius": 4.5,
  "circle-color": ["match", ["get", "state"], "picked_up", "#1a63c6", "assigned", "#5b8def", "at_mall", "#5b8def", "offered", "#e09b1a", "returning", "#d0342c", "#9aa8a1"],
  "circle-stroke-width": 1,
  "circle-stroke-color": "#ffffff",
};

export function ReplayView(): JSX.Element {
  const { market, run } = useConsole();
  const recording = useRef(new Recording());
  const [read, setRead] = useState(0);
  const [isReading, setReading] = useState(true);
  const [fault, setFault] = useState<string | null>(null);
  const [atMs, setAt] = useState<number | null>(null);
  const [speed, setSpeed] = useState(0);

  useEffect(() => {
    const stopping = new AbortController();
    recording.current = new Recording();
    readKept(market.id, recording.current, stopping.signal, setRead)
      .catch((error: unknown) => {
        if (!stopping.signal.aborted) setFault(inWords(error));
      })
      .finally(() => setReading(false));
    return () => stopping.abort();
  }, [market.id]);

  const [from, to] = recording.current.span;
  const shownMs = atMs ?? to;
  useEffect(() => {
    if (speed === 0) return;
    const timer = setInterval(() => {
      setAt((was) => {
        const next = (was ?? from) + TICK_MS * speed;
        if (next >= to) setSpeed(0);
        return Math.min(next, to);
      });
    }, TICK_MS);
    return () => clearInterval(timer);
  }, [speed, from, to]);

  const moment = useMemo(() => recording.current.at(shownMs), [shownMs, read]);
  const layers = useMemo<Layer[]>(() => {
    const jobs = [...moment.jobs.values()].filter((job) => OPEN.has(job.state));
    return [
      { name: "jobs", data: points(jobs.map((job) => [job.lon, job.lat, { id: job.id, state: job.state }])), paint: STATE_PAINT },
      {
        name: "drivers",
        data: points([...moment.drivers].map(([id, it]) => [it.lon, it.lat, { id, look: "busy" }])),
        paint: DRIVER_PAINT,
      },
    ];
  }, [moment]);

  if (fault !== null && read === 0) return <Empty title="Nothing can be played back">{fault}</Empty>;
  if (read === 0) return isReading ? <p class="loading">Reading the kept events…</p> : <Empty title="No events are kept">Nothing has happened here in the last 24 hours.</Empty>;
  const counts = countByState(moment.jobs.values());
  const spoken = clock(shownMs, now.value);
  return (
    <div class="view">
      <header class="view-head">
        <h1>Replay <span class="muted count">{read} events</span></h1>
        <div class="replay-controls">
          <Button size="small" kind="primary" onClick={() => (speed ? setSpeed(0) : (shownMs >= to && setAt(from), setSpeed(SPEEDS[1]!)))}>
            {speed ? "Pause" : "Play"}
          </Button>
          <label class="visually-hidden" for="replay-time">Moment</label>
          <input
            id="replay-time"
            type="range"
            min={from}
            max={to}
            step={1000}
            value={shownMs}
            aria-valuetext={spoken}
            onInput={(event) => {
              setSpeed(0);
              setAt(Number(event.currentTarget.value));
            }}
          />
          <output for="replay-time" class="mono">{spoken}</output>
          {SPEEDS.map((it) => (
            <Button key={it} size="small" aria-pressed={speed === it} onClick={() => setSpeed(it)}>
              {it}×
            </Button>
          ))}
        </div>
        <ul class="legend" aria-label="Orders at this moment">
          {[...counts].map(([state, count]) => (
            <li key={state}>{named(state)} <strong>{count}</strong></li>
          ))}
        </ul>
      </header>
      <div class="replay">
        <MarketMap market={market} layers={layers} label={`Map at ${spoken}`} onPick={(layer, id) => run({ kind: "open", path: `/${layer === "drivers" ? "driver" : "job"}/${encodeURIComponent(id)}` })} />
        <ol class="ticker" aria-label="Last events" tabIndex={0}>
          {recording.current.before(shownMs, RECENT).map((event) => (
            <li key={event.id}>
              <span class="mono muted">{clock(Date.parse(event.recorded_at), now.value)}</span> {named(event.type.split(".")[1] ?? event.type)}{" "}
              <span class="mono">{event.job ? short(event.job) : ""} {event.driver ?? ""}</span>
            </li>
          ))}
        </ol>
      </div>
    </div>
  );
}

/** Reads all kept events of a market; resolves when it has caught up. */
async function readKept(market: string, recording: Recording, signal: AbortSignal, onRead: (count: number) => void): Promise<void> {
  const reading = new AbortController();
  const stop = (): void => reading.abort();
  signal.addEventListener("abort", stop, { once: true });
  let quiet = setTimeout(stop, 10 * QUIET_MS);
  try {
    const events = await openKeptEvents(market, reading.signal);
    for await (const event of events) {
      clearTimeout(quiet);
      quiet = setTimeout(stop, QUIET_MS);
      recording.add([event]);
      if (recording.length % 200 === 1) onRead(recording.length);
    }
  } catch (error) {
    if (!reading.signal.aborted) throw error;
  } finally {
    clearTimeout(quiet);
    signal.removeEventListener("abort", stop);
    onRead(recording.length);
  }
}
