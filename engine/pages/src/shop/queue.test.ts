import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError, NoAnswer } from "../shared/api.ts";
import { ReportQueue } from "./queue.ts";

const READY = { job: "j1", text: "ORD-1: ready", path: "/a", body: { state: "ready" } };
const SHORT = { job: "j1", text: "ORD-1: short", path: "/b", body: { state: "short" } };

beforeEach(() => {
  vi.useFakeTimers();
  sessionStorage.clear();
});
afterEach(() => vi.useRealTimers());

function queue(answers: (null | Error)[]) {
  const sent: string[] = [];
  const refused: string[] = [];
  const send = async (path: string) => {
    sent.push(path);
    const answer = answers.shift() ?? null;
    if (answer) throw answer;
  };
  const made = new ReportQueue(send, (it) => refused.push(it.text), () => {}, sessionStorage, "q");
  return { made, sent, refused };
}

test("reports without an answer are sent again, in their order", async () => {
  const { made, sent } = queue([new NoAnswer(), new NoAnswer()]);
  made.add(READY);
  made.add(SHORT);
  await vi.advanceTimersByTimeAsync(0);
  expect(sent).toEqual(["/a"]);
  expect(made.waiting.value).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(sent).toEqual(["/a", "/a", "/a", "/b"]);
  expect(made.waiting.value).toEqual([]);
});

test("a reload keeps what waits", async () => {
  queue([new NoAnswer()]).made.add(READY);
  await vi.advanceTimersByTimeAsync(0);
  const { made, sent } = queue([]);
  expect(made.waiting.value).toMatchObject([READY]);
  await made.flush();
  expect(sent).toEqual(["/a"]);
});

test("a refusal is reported and does not hold up the others", async () => {
  const { made, sent, refused } = queue([new ApiError(409, "wrong_state", "collected")]);
  made.add(READY);
  made.add(SHORT);
  await vi.advanceTimersByTimeAsync(0);
  expect(sent).toEqual(["/a", "/b"]);
  expect(refused).toEqual([READY.text]);
});

test("a limit is waited for as long as the engine says", async () => {
  const { made, sent } = queue([new ApiError(429, "rate_limited", "", [], 30)]);
  made.add(READY);
  await vi.advanceTimersByTimeAsync(29_000);
  expect(sent).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(2000);
  expect(sent).toHaveLength(2);
});

test("what is kept and cannot be read is forgotten", () => {
  sessionStorage.setItem("q", "{");
  expect(queue([]).made.waiting.value).toEqual([]);
});
