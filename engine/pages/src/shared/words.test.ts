import { expect, test } from "vitest";
import { ago, count, distance, duration, money, named, placeName, until } from "./words.ts";

test.each([
  [0, "0 s"],
  [59.4, "59 s"],
  [60, "1 min"],
  [3599, "60 min"],
  [3600, "1 h"],
  [7800, "2 h 10 min"],
  [200_000, "2 d"],
  [-5, "0 s"],
])("duration of %d s", (seconds, words) => {
  expect(duration(seconds)).toBe(words);
});

test("ages and deadlines", () => {
  expect(ago(1000, 3000)).toBe("just now");
  expect(ago(0, 300_000)).toBe("5 min ago");
  expect(until(300_000, 0)).toBe("in 5 min");
  expect(until(10_000, 0)).toBe("now");
  expect(until(0, 300_000)).toBe("5 min late");
});

test("distances round to what matters", () => {
  expect([4, 84, 994, 1200, 9960, 14_400].map(distance)).toEqual([
    "0 m",
    "80 m",
    "990 m",
    "1.2 km",
    "10 km",
    "14 km",
  ]);
});

test("money has the digits of its currency", () => {
  expect(money(1150, "USD")).toContain("11.50");
  expect(money(1150, "JPY")).toContain("1,150");
});

test("words of the contract", () => {
  expect(named("picked_up")).toBe("Picked up");
  expect(count(1, "parcel")).toBe("1 parcel");
  expect(count(2, "parcel")).toBe("2 parcels");
});

test("a place without a name is called by its id", () => {
  expect(["chandler-fashion-center", "lego", "the_gap", ""].map(placeName)).toEqual(["Chandler Fashion Center", "Lego", "The Gap", ""]);
});
