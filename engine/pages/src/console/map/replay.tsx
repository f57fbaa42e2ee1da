/** The last 24 hours, played back from the kept events. */

import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { inWords } from "../../shared/api.ts";
import { Button, Empty } from "../../shared/components.tsx";
import { now } from "../../shared/now.ts";
import { clock, named } from "../../shared/words.ts";
import { openKeptEvents } from "../api.ts";
import { countByState } from "../core/board.ts";
import { useConsole } from "../context.ts";
import { MarketMap } from "./canvas.tsx";
import type { Layer, Spot } from "./layers.ts";
import { Legend } from "./legend.tsx";
import { short } from "../marks.tsx";
import { Recording } from "../core/replay.ts";

// The stream goes on for ever: what was kept has been read when nothing has come for this long.
const QUIET_MS = 1_500;
const SPEEDS = [1, 10, 60];
const TICK_MS = 100;
const RECENT = 12;
const OPEN = new Set(["scheduled", "queued", "offered", "assigned", "at_mall", "picked_up", "returning"]);
const UNDER_WAY = new Set(["assigned", "at_mall", "picked_up", "returning"]);

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
      { name: "jobs", spots: jobs.map(({ id, lon, lat, state }): Spot => ({ id, lon, lat, look: UNDER_WAY.has(state) ? "under_way" : "order" })) },
      { name: "drivers", spots: [...moment.drivers].map(([id, { lon, lat }]): Spot => ({ id, lon, lat, look: "busy" })) },
    ];
  }, [moment]);

  if (fault !== null && read === 0) return <Empty title="Nothing can be played back">{fault}</Empty>;
  if (read === 0) return isReading ? <p class="loading">Reading the kept events…</p> : <Empty title="No events are kept">Nothing has happened here in the last 24 hours.</Empty>;
  const counts = countByState(moment.jobs.values());
  const spoken = clock(shownMs, now.value);
  return (
    <div class="view">
      <header class="view-head">
        <h1>Replay <span class="muted count">{isReading ? "reading…" : `${read} events`}</span></h1>
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
        <Legend of={[["order", "order without a driver"], ["under_way", "order under way"], ["busy", "driver"]]} />
        <p class="muted small">
          Orders and offers are played back. Drivers appear only where an event reported their position: the engine keeps no history
          of their routes.
        </p>
      </header>
      <div class="replay">
        <MarketMap market={market} layers={layers} isComplete={!isReading} label={`Map at ${spoken}`} onPick={(layer, id) => run({ kind: "open", path: `/${layer === "drivers" ? "driver" : "job"}/${encodeURIComponent(id)}` })} />
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
