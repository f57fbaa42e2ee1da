import type { DriverClient } from "@mallard/client";
import { afterEach, expect, test, vi } from "vitest";

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Positions as in Chromium: a watch reports the present position, then only new ones. */
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
  // After a minute the engine counts a position as too old.
  expect(before).toBeGreaterThanOrEqual(5);
  expect(position.mock.calls.length).toBe(before);
});
