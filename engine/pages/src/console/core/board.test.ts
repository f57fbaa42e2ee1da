import { expect, test } from "vitest";
import { Board, countByState } from "./board.ts";
import type { Job } from "./types.ts";
import { at, driver, event, job, jobEvent, NOON } from "./samples.ts";

function readList(board: Board, jobs: Job[]): void {
  // In two pages, as a long list comes.
  board.addJobs(jobs.slice(0, 1));
  board.addJobs(jobs.slice(1));
  board.dropJobs(new Set(jobs.map((it) => it.id)));
}

test("an event that came while the list was read wins over the list", () => {
  const board = new Board();
  board.opened();
  board.apply(jobEvent("job.assigned", job("j1", { state: "assigned", driver: "ana" })));
  readList(board, [job("j1"), job("j2")]);
  expect(board.jobs.get("j1")?.state).toBe("assigned");
  expect(board.jobs.get("j2")?.state).toBe("queued");
});

test("a list read anew drops open jobs that are gone, and keeps what events have changed", () => {
  const board = new Board();
  readList(board, [job("gone"), job("stays")]);
  board.opened();
  board.apply(jobEvent("job.created", job("new")));
  readList(board, [job("stays")]);
  expect([...board.jobs.keys()].sort()).toEqual(["new", "stays"]);
});

test("an older event of a job changes nothing", () => {
  const board = new Board();
  const first = jobEvent("job.queued", job("j1"));
  board.apply(jobEvent("job.delivered", job("j1", { state: "delivered", terminal: true })));
  board.apply(first);
  expect(board.jobs.get("j1")?.state).toBe("delivered");
});

test("a driver's jobs follow the events of the jobs", () => {
  const board = new Board();
  board.loadDrivers([driver("ana"), driver("ben")]);
  board.apply(jobEvent("job.offered", job("j1", { state: "offered", driver: "ana" })));
  expect(board.drivers.get("ana")?.jobs).toEqual([]);
  board.apply(jobEvent("job.assigned", job("j1", { state: "assigned", driver: "ana" })));
  expect(board.drivers.get("ana")?.jobs).toEqual(["j1"]);
  board.apply(jobEvent("job.transferred", job("j1", { state: "picked_up", driver: "ben" })));
  expect(board.drivers.get("ana")?.jobs).toEqual([]);
  expect(board.drivers.get("ben")?.jobs).toEqual(["j1"]);
  board.apply(jobEvent("job.delivered", job("j1", { state: "delivered", terminal: true, driver: "ben" })));
  expect(board.drivers.get("ben")?.jobs).toEqual([]);
});

test("a position that is newer than the list's stays", () => {
  const board = new Board();
  board.loadDrivers([driver("ana")]);
  board.apply(event("job.driver_moved", { driver: "ana", occurred_at: at(60), data: { lat: 33.5, lon: -111.9 } }));
  board.loadDrivers([driver("ana", { at_ms: NOON + 30_000 })]);
  expect(board.drivers.get("ana")?.lat).toBe(33.5);
  board.apply(event("job.driver_moved", { driver: "ana", occurred_at: at(45), data: { lat: 1, lon: 1 } }));
  expect(board.drivers.get("ana")?.lat).toBe(33.5);
});

test("alerts come and go", () => {
  const board = new Board();
  board.apply(event("alert.raised", { job: "j1", data: { kind: "accident", alert: "a1", text: "rear-ended" } }));
  expect([...board.alerts.values()]).toMatchObject([{ id: "a1", what: "accident", job: "j1", details: { text: "rear-ended" } }]);
  board.apply(event("alert.acknowledged", { data: { alert: "a1" } }));
  expect(board.alerts.size).toBe(0);
  // A list that was read before the acknowledgement must not bring it back.
  board.loadAlerts([{ id: "a1", market: "phoenix", what: "accident", state: "open", at: at(0) }]);
  expect(board.alerts.size).toBe(0);
});

test("ended jobs make room after a while", () => {
  const board = new Board();
  for (let n = 0; n < 1_200; n += 1)
    board.apply(jobEvent("job.delivered", job(`j${n}`, { state: "delivered", terminal: true })));
  expect(board.jobs.size).toBe(500);
  expect(countByState(board.jobs.values()).get("delivered")).toBe(500);
});
