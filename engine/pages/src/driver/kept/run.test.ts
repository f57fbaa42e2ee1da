import { expect, test } from "vitest";
import { KeptRun, type Run } from "./run.ts";

const AREA = new Map<string, string>();
const STORE = {
  getItem: (key: string) => AREA.get(key) ?? null,
  setItem: (key: string, value: string) => void AREA.set(key, value),
  removeItem: (key: string) => void AREA.delete(key),
};
const RUN = { jobs: [{ job: "a" }], taken: [{ job: "a", step: "collected", at_ms: 1 }] } as unknown as Run;
const NONE = { jobs: [], taken: [] };

test("a run outlives the tab, not the day and not its last order", () => {
  new KeptRun("k", STORE).write(RUN, 1_000);
  const kept = new KeptRun("k", STORE);
  expect(kept.read(2_000)).toEqual(RUN);
  expect(kept.read(1_000 + 86_400_000)).toEqual(NONE);
  kept.write(NONE, 3_000);
  expect(AREA.size).toBe(0);
});

test("a full storage and what cannot be read do no harm", () => {
  const full = { ...STORE, setItem: () => { throw new Error("QuotaExceededError"); } };
  new KeptRun("k", full).write(RUN);
  for (const text of ["{", "null", '{"jobs": 1}']) {
    AREA.set("k", text);
    expect(new KeptRun("k", STORE).read()).toEqual(NONE);
  }
});
