import { expect, test } from "vitest";
import { callOf } from "./commands.ts";
import { exceptions } from "./exceptions.ts";
import { namesOf } from "./places.ts";
import { at, driver, job, MARKET, NOON } from "./samples.ts";
import type { Alert, Driver, Job } from "./types.ts";

function rowsOf(jobs: Job[], drivers: Driver[] = [], alerts: Alert[] = [], nowMs = NOON + 60_000) {
  return exceptions(jobs, new Map(drivers.map((it) => [it.driver, it])), alerts, namesOf(MARKET), nowMs);
}

test("a market where all is well has no exceptions", () => {
  expect(rowsOf([job("j1"), job("j2", { state: "picked_up", driver: "ana" })], [driver("ana")])).toEqual([]);
});

test("the most urgent come first, the earliest deadline within them", () => {
  const rows = rowsOf(
    [
      job("risk", { risk: "at_risk", state: "assigned", driver: "ana" }),
      job("late2", { risk: "late", expires_at: at(200) }),
      job("late1", { risk: "late", expires_at: at(100) }),
    ],
    [driver("ana")],
    [{ id: "a1", market: "phoenix", what: "accident", state: "open", at: at(0) }],
  );
  expect(rows.map((row) => row.id)).toEqual(["alert/a1", "late/late1", "late/late2", "late/risk"]);
});

test("an alert says what the driver said, and where, in words", () => {
  const details = { service: "orders", mall: "chandler", store: "sees-candies", text: "rear-ended", state: "picked_up" };
  const [row] = rowsOf([], [], [{ id: "a1", market: "phoenix", what: "accident", state: "open", at: at(0), details }]);
  expect(row?.detail).toBe("“rear-ended” · See’s Candies, Chandler · State: Picked up");
});

test("each kind has a way out", () => {
  const problem = { id: "p1", kind: "customer_unreachable", text: "", at: at(0), until: at(300), state: "open" };
  const rows = rowsOf(
    [
      job("held", { state: "scheduled", held: { why: "missing", place: "store", store: "lego", until: at(3600) } }),
      job("door", { state: "picked_up", driver: "ana", problems: [problem] }),
      job("back", { state: "returning", driver: "ana", reason: "refused" }),
      job("old", { created_at: at(-600) }),
    ],
    [driver("ana", { connected: false, at_ms: NOON - 300_000 })],
  );
  const keys = Object.fromEntries(rows.map((row) => [row.id, row.actions.map((it) => it.key).join("")]));
  expect(keys).toEqual({
    "undeliverable/door": "rlbwo",
    "silent/ana": "dt",
    "held/held": "yco",
    "unassigned/old": "seo",
    "returning/back": "ox",
  });
});

test("keys of one row are all different", () => {
  for (const row of rowsOf([job("j", { risk: "late", state: "at_mall", driver: "ana" })])) {
    const keys = row.actions.map((it) => it.key);
    expect(new Set(keys).size).toBe(keys.length);
  }
});

test("an answered problem and a driver with a line are no exceptions", () => {
  const answered = {
    ...{ id: "p1", kind: "refused", text: "", at: at(0), until: null, state: "open" },
    answer: { action: "wait", text: "", at: at(1), actor: "ops" },
  };
  expect(rowsOf([job("j", { state: "picked_up", driver: "ana", problems: [answered] })], [driver("ana")])).toEqual([]);
});

test("a parcel for an id check cannot be left at the door", () => {
  const problem = { id: "p1", kind: "refused", text: "", at: at(0), until: null, state: "open" };
  const [row] = rowsOf([job("j", { state: "picked_up", driver: "ana", requires: ["id_check"], problems: [problem] })], [driver("ana")]);
  expect(row?.actions.map((it) => it.label)).not.toContain("Leave at door");
});

test("ids go into a path as one segment", () => {
  const call = callOf({ kind: "assign", job: "a/../b?c", driver: "x" }, at(0));
  expect(call?.path).toBe("/v1/jobs/a%2F..%2Fb%3Fc/assign");
});
