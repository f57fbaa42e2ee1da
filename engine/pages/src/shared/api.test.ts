import { expect, test } from "vitest";
import { retryAfterOf } from "./api.ts";

test.each([
  ["7", 7],
  ["0", 0],
  ["86400", 60],
  ["Mon, 30 Nov 2026 15:00:00 GMT", null],
  [undefined, null],
])("an answer with Retry-After %s is waited for within a minute", (header, waitS) => {
  const headers = new Headers(header === undefined ? {} : { "retry-after": header });
  expect(retryAfterOf(headers)).toBe(waitS);
});
