import { expect, test } from "vitest";
import { namesOf } from "./places.ts";
import { MARKET } from "./samples.ts";

test("a shop has its name, and one that is not known is put in words", () => {
  const names = namesOf(MARKET);
  expect([names.mall("chandler"), names.shop("chandler", "sees-candies")]).toEqual(["Chandler", "See’s Candies"]);
  // The same id in another mall is another shop.
  expect([names.mall("arizona-mills"), names.shop("arizona-mills", "sees-candies")]).toEqual(["Arizona Mills", "Sees Candies"]);
});
