/** HTTP in the place of a socket, against answers made up here. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientMessage } from "../src/contract.js";
import { overHttp } from "../src/driver/connection/http_transport.js";
import type { Ending } from "../src/driver/connection/reconnect.js";
import { WELCOME } from "./phone.js";

const FIX = [1_700_000_000_000, 33, -111, null, null, null] as const;
const LOCATION = { type: "location", fixes: [FIX] } as unknown as ClientMessage;
const HELLO = { type: "hello", token: "t", now_ms: 0, holds: [] } as unknown as ClientMessage;

function answer(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers });
}

function problem(status: number, code: string, headers: Record<string, string> = {}): Response {
  return answer({ type: "x", title: "x", status, code, detail: "why" }, status, headers);
}

/** A connection to an engine that gives these answers in turn. */
function connected(...answers: Array<Response | Error>) {
  const received: Array<{ type: string; code?: string; retry?: boolean; retry_after_s?: number }> = [];
  const endings: Ending[] = [];
  const kept: Array<number | undefined> = [];
  const asked: string[] = [];
  const fetcher = (url: string): Promise<Response> => {
    asked.push(url);
    const next = answers.shift() ?? new Error("no more answers");
    return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
  };
  const connection = overHttp(fetcher as typeof fetch)("wss://e", "mallard.v1.json", "t", {
    opened: () => undefined,
    received: (frame) => received.push(JSON.parse(String(frame)) as { type: string }),
    ponged: () => undefined,
    closed: (ending) => endings.push(ending),
  });
  const send = (message: ClientMessage): boolean =>
    connection.send(JSON.stringify(message), (afterS) => kept.push(afterS));
  return { connection, send, received, endings, kept, asked };
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

test("fixes that are refused for now are given back with the time to wait", async () => {
  const { send, kept, endings } = connected(
    problem(429, "rate_limited", { "Retry-After": "7" }),
    problem(503, "store_unavailable", { "Retry-After": "2" }),
    problem(503, "draining"),
  );
  for (let count = 0; count < 3; count += 1) {
    send(LOCATION);
    await settled();
  }
  assert.deepEqual(kept, [7, 2, undefined]);
  assert.deepEqual(endings, []);
});

test("fixes that wait behind refused ones are given back without a call", async () => {
  const { send, kept, asked } = connected(
    problem(429, "rate_limited", { "Retry-After": "7" }),
    answer({ dropped: [] }),
  );
  send(LOCATION);
  send(LOCATION);
  await settled();
  assert.deepEqual([kept, asked.length], [[7, undefined], 1]);
  send(LOCATION);
  await settled();
  assert.deepEqual([kept, asked.length], [[7, undefined], 2]);
});

test("fixes that the engine has, or will never take, are not given back", async () => {
  const { send, kept } = connected(answer({ dropped: [] }), problem(422, "bad_field"));
  send(LOCATION);
  send(LOCATION);
  await settled();
  assert.deepEqual(kept, []);
});

test("fixes of a connection that ends are given back, also those that waited in it", async () => {
  const { send, kept, endings } = connected(new TypeError("no network"));
  send(LOCATION);
  send(LOCATION);
  await settled();
  assert.deepEqual(kept, [undefined, undefined]);
  assert.equal(endings.length, 1);
  assert.equal(send(LOCATION), false);
});

test("a closed connection gives back the fixes that wait in it", async () => {
  const { connection, send, kept, asked } = connected();
  send(LOCATION);
  connection.close(false);
  await settled();
  assert.deepEqual(kept, [undefined]);
  assert.deepEqual(asked, []);
});

test("a step is refused for good only by an answer that no repetition changes", async () => {
  const step = { type: "progress", id: 1, job: "j", attempt: 1, step: "delivered", at_ms: 0 };
  const { send, received } = connected(
    problem(503, "draining"),
    problem(503, "store_full"),
    problem(429, "rate_limited"),
    problem(409, "wrong_state"),
  );
  for (let count = 0; count < 4; count += 1) send(step as ClientMessage);
  await settled();
  assert.deepEqual(received.map(({ retry }) => retry), [true, true, true, false]);
});

test("a refused step carries the time to wait", async () => {
  const step = { type: "progress", id: 1, job: "j", attempt: 1, step: "delivered", at_ms: 0 };
  const { send, received } = connected(
    problem(503, "store_unavailable", { "Retry-After": "2" }),
    problem(409, "wrong_state"),
  );
  send(step as ClientMessage);
  send(step as ClientMessage);
  await settled();
  assert.deepEqual(received.map(({ retry_after_s }) => retry_after_s), [2, undefined]);
});

test("a step that the engine failed on is repeated over another connection", async () => {
  const step = { type: "progress", id: 1, job: "j", attempt: 1, step: "delivered", at_ms: 0 };
  const { send, received, endings } = connected(problem(500, "internal", { "Retry-After": "4" }));
  send(step as ClientMessage);
  await settled();
  assert.deepEqual(received, []);
  assert.deepEqual(endings, [{ reason: "why", httpStatus: 500, retryAfterS: 4 }]);
});

test("a refusal of the state is no welcome", async () => {
  const { send, received, endings } = connected(
    problem(503, "store_unavailable", { "Retry-After": "3" }),
  );
  send(HELLO);
  await settled();
  assert.deepEqual(received, []);
  assert.deepEqual(endings, [{ reason: "why", httpStatus: 503, retryAfterS: 3 }]);
});

test("a refusal of a later look at the state does not end the connection", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { send, received, endings, asked } = connected(
    answer(WELCOME),
    problem(429, "rate_limited", { "Retry-After": "20" }),
    answer({ ...WELCOME, state: "paused" }),
  );
  send(HELLO);
  await settled();
  context.mock.timers.tick(8_000);
  await settled();
  context.mock.timers.tick(19_000);
  await settled();
  assert.equal(asked.length, 2);
  context.mock.timers.tick(1_000);
  await settled();
  assert.deepEqual(received.map(({ type }) => type), ["welcome", "ping", "welcome"]);
  assert.deepEqual(endings, []);
});

test("a look at the state is put off while the session still trusts the connection", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { send, asked } = connected(
    answer(WELCOME),
    problem(429, "rate_limited", { "Retry-After": "86400" }),
    answer(WELCOME),
  );
  send(HELLO);
  await settled();
  context.mock.timers.tick(8_000);
  await settled();
  context.mock.timers.tick(39_000);
  await settled();
  assert.equal(asked.length, 2);
  context.mock.timers.tick(1_000);
  await settled();
  assert.equal(asked.length, 3);
});
