import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { session, type Session } from "../shared/session.ts";
import { MARKET } from "./core/samples.ts";
import { Live } from "./live.ts";

const EVENTS = "/v1/events";
let live: Live;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  session.value = { token: "t" } as Session;
});
afterEach(() => {
  live.stop();
  session.value = null;
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** Follows a market; returns the paths that are asked for. Without an answer of the test's there is nothing in it. */
function follow(answerTo: (path: string) => Response | undefined): string[] {
  const asked: string[] = [];
  vi.stubGlobal("fetch", async (url: string, { signal }: RequestInit) => {
    const path = url.split("?")[0] ?? "";
    asked.push(path);
    return answerTo(path) ?? (path === EVENTS ? stream(signal!) : answer(200, { items: [], next_cursor: null }));
  });
  live = new Live(MARKET);
  live.start();
  return asked;
}

/** An answer that needs no turn of the event loop to be read: its timers are the test's. */
function answer(status: number, body: object, headers: Record<string, string> = {}): Response {
  const text = async (): Promise<string> => JSON.stringify(body);
  return { ok: status === 200, status, headers: new Headers(headers), text, json: async () => body } as Response;
}

function refusal(status: number, retryAfter?: string): Response {
  return answer(status, { code: "refused", detail: "later" }, retryAfter ? { "retry-after": retryAfter } : {});
}

/** An event stream without events, until it is cut. */
function stream(signal: AbortSignal): Response {
  const read = (): Promise<never> =>
    new Promise((_, reject) => signal.addEventListener("abort", () => reject(new DOMException("cut", "AbortError"))));
  return { ok: true, status: 200, body: { getReader: () => ({ read, cancel: async () => undefined }) } } as unknown as Response;
}

test.each([429, 503])("a stream that is refused with %s is opened again after Retry-After", async (status) => {
  const refusals = [refusal(status, "7"), refusal(status, "86400"), refusal(status)];
  const asked = follow((path) => (path === EVENTS ? refusals.shift() : undefined));
  await vi.advanceTimersByTimeAsync(7_200);
  expect(asked).toEqual([EVENTS]);
  await vi.advanceTimersByTimeAsync(100);
  expect(asked).toEqual([EVENTS, EVENTS]);
  // A proxy's day is a minute.
  await vi.advanceTimersByTimeAsync(60_400);
  expect(asked).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(200);
  expect(asked).toHaveLength(3);
  // Without one, only the jitter is waited for.
  await vi.advanceTimersByTimeAsync(1_100);
  expect(asked.filter((path) => path === EVENTS)).toHaveLength(4);
  expect(live.state.value).toBe("live");
});

test("a list that is refused for now is read again after Retry-After", async () => {
  const refusals = [refusal(429, "7")];
  const asked = follow((path) => (path === "/v1/alerts" ? refusals.shift() : undefined));
  await vi.advanceTimersByTimeAsync(7_200);
  expect(asked.filter((path) => path === EVENTS)).toHaveLength(1);
  expect(live.state.value).toBe("down");
  await vi.advanceTimersByTimeAsync(100);
  expect(asked.filter((path) => path === EVENTS)).toHaveLength(2);
  expect(live.state.value).toBe("live");
});
