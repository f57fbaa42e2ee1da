import { expect, test } from "vitest";
import { inMarket, parse } from "./router.ts";

test("a filter goes along to another market, without what is one market's own", () => {
  expect(inMarket("tucson", parse("#/phoenix/orders?state=queued&mall=chandler&q=a%26b"))).toBe("/tucson/orders?state=queued&q=a%26b");
  expect(inMarket("tucson", parse("#/phoenix/exceptions?group=late"))).toBe("/tucson/exceptions?group=late");
  expect(inMarket("tucson", parse("#/phoenix/job/job_phoenix_1?tab=explain"))).toBe("/tucson/orders");
  expect(inMarket("tucson", parse("#/phoenix/driver/ana"))).toBe("/tucson/drivers");
  expect(inMarket("tucson", parse(""))).toBe("/tucson/exceptions");
});
