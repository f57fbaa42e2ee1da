import type { HeldJob } from "@mallard/client";
import { expect, test } from "vitest";
import { asReported, isToCollect, proofsWanted, stopsOf } from "./run.ts";

const MALL = { id: "chandler", name: "Chandler", lat: 33, lon: -111, gate: "north", gate_lat: 33, gate_lon: -111 };

function shop(store: string, change: object = {}): HeldJob["detail"]["stores"][number] {
  return { store, name: store, gate: "north", floor: 1, ready_ms: 0, parcels: 1, state: "waiting", ...change };
}

function held(job: string, state: string, change: object = {}): HeldJob {
  const detail = {
    ...{ job, attempt: 1, state, mall: MALL, stores: [shop("lego")], parcels: { count: 1, weight_g: 0, volume_l: 0 } },
    ...{ dropoff: { lat: 33, lon: -111, deadline_ms: 10_000 }, requires: [], eta: { pickup_ms: null, dropoff_ms: null } },
    ...change,
  };
  return { job, attempt: 1, state, detail: detail as unknown as HeldJob["detail"] };
}

test("jobs of one mall are collected together, shop by shop", () => {
  const stops = stopsOf([
    held("a", "assigned", { stores: [shop("vans", { floor: 2 }), shop("lego")] }),
    held("b", "assigned", { stores: [shop("lego")] }),
  ]);
  expect(stops).toHaveLength(1);
  const [stop] = stops;
  if (stop?.kind !== "mall") throw new Error("no mall");
  expect(stop.isAhead).toBe(true);
  expect(stop.shops.map((it) => [it.store, it.pickups.map((each) => each.job.job)])).toEqual([
    ["lego", ["a", "b"]],
    ["vans", ["a"]],
  ]);
});

test("a single job keeps the engine's order of shops", () => {
  const [stop] = stopsOf([held("a", "at_mall", { stores: [shop("vans", { floor: 2 }), shop("lego")] })]);
  expect(stop?.kind === "mall" && stop.shops.map((it) => it.store)).toEqual(["vans", "lego"]);
});

test("what is collected leaves the mall, and doors follow by expected time", () => {
  const done = { stores: [shop("lego", { state: "collected" })] };
  const stops = stopsOf([
    held("late", "picked_up", { ...done, eta: { pickup_ms: null, dropoff_ms: 900 } }),
    held("open", "picked_up", { stores: [shop("lego", { state: "collected" }), shop("vans")] }),
    held("soon", "picked_up", { ...done, eta: { pickup_ms: null, dropoff_ms: 100 } }),
    held("back", "returning", done),
    held("meet", "assigned", { kind: "transfer" }),
  ]);
  expect(stops.map((it) => (it.kind === "mall" ? "mall" : `${it.kind} ${it.job.job}`))).toEqual([
    "meeting meet",
    "mall",
    "door soon",
    "door late",
    "return back",
  ]);
});

test("a door at which the driver is stays in front", () => {
  const jobs = [held("new", "assigned"), ...["a", "b"].map((job) => held(job, "picked_up", { stores: [] }))];
  const order = (front?: string): string[] => stopsOf(jobs, front).map((it) => (it.kind === "mall" ? "mall" : it.job.job));
  expect(order()).toEqual(["mall", "a", "b"]);
  expect(order("b")).toEqual(["b", "mall", "a"]);
  expect(order("new")).toEqual(["mall", "a", "b"]);
});

test("missing, short and collected shops are done with", () => {
  for (const state of ["missing", "short", "collected"])
    expect(isToCollect(held("a", "picked_up"), shop("x", { state, collected_parcels: state === "missing" ? 0 : 1 }))).toBe(false);
  expect(isToCollect(held("a", "returning"), shop("x"))).toBe(false);
  expect(isToCollect(held("a", "at_mall"), shop("x", { state: "closed" }))).toBe(true);
});

test("a shop that has said it is short is still visited", () => {
  const short = shop("x", { state: "short", collected_parcels: 0 });
  expect(isToCollect(held("a", "assigned"), short)).toBe(true);
  const after = asReported([held("a", "at_mall", { stores: [short] })], [{ job: "a", step: "collected", store: "x", at_ms: 0 }]);
  expect(stopsOf(after).map((it) => it.kind)).toEqual(["door"]);
});

test("an id check asks for the age once", () => {
  expect(proofsWanted(held("a", "picked_up", { requires: ["id_check"], proof_required: ["pin", "age_check"] }))).toEqual(["pin", "age_check"]);
  expect(proofsWanted(held("a", "picked_up"))).toEqual([]);
});

test("reports that wait for the line are shown as done", () => {
  const two = { stores: [shop("lego"), shop("vans")] };
  const at_ms = 0;
  const stops = (...queued: Parameters<typeof asReported>[1][number][]) =>
    stopsOf(asReported([held("a", "at_mall", two)], queued)).map((it) => (it.kind === "mall" ? it.shops.map((each) => each.store).join() : it.kind));
  expect(stops({ job: "a", step: "collected", store: "lego", at_ms })).toEqual(["vans"]);
  expect(stops({ job: "a", step: "collected", store: "lego", at_ms }, { job: "a", step: "collected", store: "vans", at_ms })).toEqual(["door"]);
  expect(stops({ job: "a", step: "picked_up", at_ms })).toEqual(["door"]);
  expect(stops({ job: "a", step: "picked_up", at_ms }, { job: "a", step: "returning", at_ms })).toEqual(["return"]);
  expect(stops({ job: "a", step: "picked_up", at_ms }, { job: "a", step: "delivered", at_ms })).toEqual([]);
  expect(stops({ job: "a", step: "collected", store: "lego", parcels: 0, at_ms })).toEqual(["vans"]);
  expect(asReported([held("a", "picked_up")], [], ["a"])).toEqual([]);
});
