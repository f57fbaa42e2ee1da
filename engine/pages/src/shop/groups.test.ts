import { expect, test } from "vitest";
import { grouped, groupOf, meaningOf, nameOf } from "./groups.ts";
import type { Pickup } from "./types.ts";

let number = 0;

function pickup(state: string, shop = "waiting", eta: string | null = null, externalId?: string): Pickup {
  number += 1;
  const id = `job_phoenix.${number}`;
  const stores = [{ store: "lego", state: shop, parcels: 2, pickup_code: `P${number}` }];
  const base = { id, state, stores, driver: null, eta: { pickup: eta } };
  return externalId ? { ...base, external_id: externalId } : base;
}

test.each([
  ["queued", "waiting", "waiting"],
  ["offered", "ready", "waiting"],
  ["assigned", "waiting", "coming"],
  ["at_mall", "ready", "here"],
  ["picked_up", "waiting", "here"],
  ["picked_up", "collected", "done"],
  ["cancelled", "waiting", "done"],
  ["returning", "waiting", "done"],
  ["a_state_of_tomorrow", "waiting", "waiting"],
])("a job that is %s at a shop that is %s", (state, shop, group) => {
  expect(groupOf(pickup(state, shop))).toBe(group);
});

test("who comes first is on top, an unknown time last", () => {
  const late = pickup("assigned", "waiting", "2026-11-29T10:30:00Z");
  const soon = pickup("assigned", "waiting", "2026-11-29T10:05:00Z");
  const unknown = pickup("assigned");
  expect(grouped([unknown, late, soon]).coming).toEqual([soon, late, unknown]);
});

test("an order's number opens it, anything else is a code of those who are here", () => {
  const here = pickup("at_mall", "ready", null, "ORD-1");
  const coming = pickup("assigned", "ready", null, "ORD-2");
  expect(meaningOf(" ORD-2 ", [here, coming])).toEqual({ kind: "order", pickup: coming });
  expect(meaningOf("4711", [here, coming])).toEqual({ kind: "code", code: "4711", candidates: [here] });
  expect(meaningOf("4711", [coming])).toMatchObject({ candidates: [coming] });
  expect(meaningOf("4711", [])).toMatchObject({ candidates: [] });
});

test("an order without a number is named by the end of its id", () => {
  expect(nameOf({ id: "job_phoenix.01J8" })).toBe("01J8");
});
