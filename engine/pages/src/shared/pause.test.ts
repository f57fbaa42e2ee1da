import { expect, test, vi } from "vitest";
import { pause } from "./pause.ts";

test("a pause ends by its time or its signal, and leaves no listener", async () => {
  const stopping = new AbortController();
  const added = vi.spyOn(stopping.signal, "addEventListener");
  const removed = vi.spyOn(stopping.signal, "removeEventListener");
  await pause(1, stopping.signal);
  expect(removed.mock.calls).toEqual(added.mock.calls);
  const long = pause(3_600_000, stopping.signal);
  stopping.abort();
  await long;
  expect(removed.mock.calls).toEqual(added.mock.calls);
});
