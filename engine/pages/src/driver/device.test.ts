import type { DriverClient } from "@mallard/client";
import { afterEach, expect, test, vi } from "vitest";

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Positions as Chromium gives them: a watch gets the present one, then only those that are new. */
function standingStill() {
  let watches = 0;
  return {
    watchPosition(found: PositionCallback): number {
      found({} as GeolocationPosition);
      return ++watches;
    },
    clearWatch: () => undefined,
    getCurrentPosition: () => undefined,
  };
}

test("a phone that stands still is reported again and again", async () => {
  vi.useFakeTimers();
  vi.stubGlobal("document", { hidden: false });
  vi.stubGlobal("navigator", { geolocation: standingStill() });
  const { watchPosition } = await import("./device.ts");
  const position = vi.fn();
  const stop = watchPosition({ locationMs: 4_000, position } as unknown as DriverClient);
  vi.advanceTimersByTime(120_000);
  stop();
  const before = position.mock.calls.length;
  vi.advanceTimersByTime(60_000);
  // The engine takes a position for too old after a minute.
  expect(before).toBeGreaterThanOrEqual(5);
  expect(position.mock.calls.length).toBe(before);
});
