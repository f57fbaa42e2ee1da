import { beforeEach, expect, test } from "vitest";
import { Drafts } from "./drafts.ts";

const AREA = new Map<string, string>();
const STORE = {
  getItem: (key: string) => AREA.get(key) ?? null,
  setItem: (key: string, value: string) => void AREA.set(key, value),
  removeItem: (key: string) => void AREA.delete(key),
};
const open = (nowMs = 0): Drafts => new Drafts("k", STORE, nowMs);

beforeEach(() => AREA.clear());

test("a draft outlives the tab, not the day and not its order", () => {
  const before = open();
  before.change("a", "delivered", { pin: "12" }, 5);
  before.change("a", "delivered", { photo: "data:," }, 6);
  expect(open(7).of("a", "delivered")).toEqual({ pin: "12", photo: "data:," });
  expect(open(6 + 86_400_000).of("a", "delivered")).toEqual({});
  expect(before.of("a", "returned")).toEqual({});
  before.keepOnly((job) => job !== "a");
  expect(before.of("a", "delivered")).toEqual({});
  expect(AREA.size).toBe(0);
});

test("while the outbox has the images they are not kept twice", () => {
  const drafts = open();
  drafts.change("a", "delivered", { pin: "12", photo: "data:," }, 5);
  drafts.give("a", "delivered");
  expect(AREA.size).toBe(0);
  expect(drafts.of("a", "delivered").photo).toBe("data:,");
  drafts.takeBack("a", "delivered");
  expect(open(6).of("a", "delivered").photo).toBe("data:,");
  drafts.takeBack("b", "delivered");
  expect(open(6).of("b", "delivered")).toEqual({});
});

test("the storage has the latest three, and may be full", () => {
  const drafts = open();
  for (const job of ["a", "b", "c", "d"]) drafts.change(job, "delivered", { pin: job }, 5);
  drafts.change("b", "delivered", { pin: "b2" }, 6);
  expect(["a", "b", "c", "d"].map((job) => open(7).of(job, "delivered").pin)).toEqual([undefined, "b2", "c", "d"]);
  expect(drafts.of("a", "delivered").pin).toBe("a");
  const full = { ...STORE, setItem: () => { throw new Error("QuotaExceededError"); } };
  const poor = new Drafts("k", full, 7);
  poor.change("e", "delivered", { pin: "e" }, 7);
  expect(poor.of("e", "delivered").pin).toBe("e");
});

test("after the end nothing is kept, not even a photo that comes late", () => {
  const drafts = open();
  drafts.change("a", "delivered", { pin: "12" }, 5);
  drafts.end();
  drafts.change("a", "delivered", { photo: "data:," }, 6);
  expect(drafts.of("a", "delivered")).toEqual({});
  expect(AREA.size).toBe(0);
});

test("what cannot be read does no harm", () => {
  for (const text of ["{", "null", '[1, {"job": "a"}]']) {
    AREA.set("k", text);
    expect(open().of("a", "delivered")).toEqual({});
  }
});
