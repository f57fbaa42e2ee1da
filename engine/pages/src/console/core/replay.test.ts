import { expect, test } from "vitest";
import { Recording } from "./replay.ts";
import { event, job, jobEvent } from "./samples.ts";
import type { LiveEvent } from "./types.ts";

test("a moment is the same forwards, backwards and read straight away", () => {
  const events: LiveEvent[] = [];
  for (let n = 0; n < 900; n += 1) {
    events.push(jobEvent("job.assigned", job(`j${n % 70}`, { state: n % 3 ? "assigned" : "queued", driver: n % 3 ? "ana" : null })));
    events.push(event("job.driver_moved", { driver: `d${n % 5}`, data: { lat: n, lon: -n } }));
  }
  const recording = new Recording();
  recording.add(events);
  const plain = (ms: number): unknown => {
    const fresh = new Recording();
    fresh.add(events.filter((it) => Date.parse(it.recorded_at) <= ms));
    return fresh.at(ms);
  };
  const [from, to] = recording.span;
  for (const ms of [to, from, from + 1000, (from + to) / 2, to - 1000, from - 1]) expect(recording.at(ms)).toEqual(plain(ms));
});

test("an event that comes twice counts once", () => {
  const recording = new Recording();
  const one = jobEvent("job.created", job("j1"));
  recording.add([one, one]);
  recording.add([one]);
  expect(recording.length).toBe(1);
  expect(recording.before(Date.parse(one.recorded_at), 5)).toEqual([one]);
});
