import { NoAnswer, RequestRefused } from "@mallard/client";
import { beforeEach, expect, test } from "vitest";
import { Requests, type Asked, type World } from "./requests.ts";

const AREA = new Map<string, string>();
const STORE = {
  getItem: (key: string) => AREA.get(key) ?? null,
  setItem: (key: string, value: string) => void AREA.set(key, value),
  removeItem: (key: string) => void AREA.delete(key),
};

/** An engine that answers as `answers` say, then takes everything. */
class Engine implements World {
  isConnected = true;
  nowMs = 1_000;
  held = new Set(["j"]);
  steps = new Set<string>();
  asked: Asked[] = [];
  refusals: string[] = [];
  late: string[] = [];
  answers: Error[] = [];
  isHeld = (job: string): boolean => this.held.has(job);
  isStepWaiting = (job: string): boolean => this.steps.has(job);
  refused = (_: Asked, refusal: RequestRefused): void => void this.refusals.push(refusal.code);
  tooLate = ({ kind }: Asked): void => void this.late.push(kind);
  async ask(asked: Asked): Promise<void> {
    if (!this.isConnected) throw new Error("the client has stopped");
    this.asked.push(asked);
    const error = this.answers.shift();
    if (error) throw error;
  }
}

const ACCEPT: Asked = { kind: "accept", offer: "o", untilMs: 30_000 };
const PROBLEM: Asked = { kind: "problem", what: "not_ready", job: "j", attempt: 1, atMs: 900, untilMs: 60_000 };

function wish(state: "available" | "paused", untilMs: number | null = null): Asked {
  return { kind: "status", wish: state, untilMs };
}

beforeEach(() => AREA.clear());

test("without a line everything is kept over a kill of the tab and asked once", async () => {
  const engine = new Engine();
  engine.isConnected = false;
  const before = new Requests("k", engine, STORE);
  for (const it of [ACCEPT, PROBLEM, wish("paused")]) await before.add(it);
  expect(engine.asked).toEqual([]);
  const after = new Requests("k", engine, STORE);
  engine.isConnected = true;
  await Promise.all([after.send(), after.send()]);
  expect(engine.asked).toEqual([ACCEPT, PROBLEM, wish("paused")]);
  expect(AREA.size).toBe(0);
});

test("the client is given a wish before it is connected, for as long as there is no answer", async () => {
  const engine = new Engine();
  engine.isConnected = false;
  let answer = (): void => undefined;
  engine.ask = (asked) => {
    engine.asked.push(asked);
    if (engine.asked.length < 3) return Promise.reject(new NoAnswer("10 s"));
    return new Promise((done) => (answer = done));
  };
  await new Requests("k", engine, STORE).add(wish("paused"));
  await expect.poll(() => engine.asked.length).toBe(3);
  const killed = new Requests("k", engine, STORE);
  expect(killed.waiting.value).toEqual([wish("paused")]);
  answer();
  await expect.poll(() => AREA.size).toBe(0);
});

test("what has no answer stays; what is refused goes", async () => {
  const engine = new Engine();
  const requests = new Requests("k", engine, STORE);
  engine.answers = [new NoAnswer("10 s"), new RequestRefused("store_unavailable", "", true), new RequestRefused("wrong_state", "", false)];
  await requests.add(PROBLEM);
  await requests.send();
  expect(requests.waiting.value).toEqual([PROBLEM]);
  await requests.send();
  expect(engine.refusals).toEqual(["wrong_state"]);
  expect(requests.waiting.value).toEqual([]);
});

test("nothing of no use is sent late", async () => {
  const engine = new Engine();
  engine.isConnected = false;
  const requests = new Requests("k", engine, STORE);
  for (const it of [ACCEPT, wish("available", 20_000), { ...PROBLEM, job: "gone" }]) await requests.add(it as Asked);
  engine.isConnected = true;
  engine.nowMs = 30_000;
  await requests.send();
  expect(engine.asked).toEqual([]);
  expect(engine.late).toEqual(["accept", "status", "problem"]);
  expect(requests.waiting.value).toEqual([]);
});

test("the last wish and the last answer to an offer count", async () => {
  const engine = new Engine();
  engine.isConnected = false;
  const requests = new Requests("k", engine, STORE);
  const decline: Asked = { kind: "decline", offer: "o", untilMs: 30_000 };
  for (const it of [wish("available"), ACCEPT, wish("paused"), decline]) await requests.add(it);
  expect(requests.waiting.value).toEqual([wish("paused"), decline]);
});

test("a problem follows the steps that came before it", async () => {
  const engine = new Engine();
  engine.steps.add("j");
  const requests = new Requests("k", engine, STORE);
  await requests.add(PROBLEM);
  expect(engine.asked).toEqual([]);
  engine.steps.clear();
  await requests.send();
  expect(engine.asked).toEqual([PROBLEM]);
});

test("what is kept is of no use when it cannot be read", () => {
  for (const text of ["{", "null", '[{"kind": "else"}, null]']) {
    AREA.set("k", text);
    expect(new Requests("k", new Engine(), STORE).waiting.value).toEqual([]);
  }
});
