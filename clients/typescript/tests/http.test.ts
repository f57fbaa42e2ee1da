/** HTTP calls, event streams and webhooks, against answers made up here. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { ApiProblem, BadAnswer, Unreachable } from "../src/errors.js";
import { EventParser } from "../src/http/sse.js";
import { retryAfterS } from "../src/http/request.js";
import { OrdersClient } from "../src/orders.js";
import { StoreClient } from "../src/store.js";
import { BadWebhook, readWebhook } from "../src/webhooks.js";

interface Sent {
  url: string;
  method: string;
  headers: Record<string, string>;
  body: unknown;
}

/** An engine that gives these answers in turn, and remembers what it was sent. */
function engine(...answers: Array<Response | Error>) {
  const sent: Sent[] = [];
  const waits: number[] = [];
  const fetch = (url: string, request: RequestInit): Promise<Response> => {
    const headers = request.headers as Record<string, string>;
    const body = typeof request.body === "string" ? JSON.parse(request.body) : request.body;
    sent.push({ url, method: request.method ?? "GET", headers, body });
    const answer = answers.shift() ?? new Error("no more answers");
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };
  const options = {
    fetch: fetch as typeof globalThis.fetch,
    random: () => 0.5,
    sleep: (seconds: number) => {
      waits.push(seconds);
      return Promise.resolve();
    },
  };
  return { sent, waits, options };
}

function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body), { status, headers });
}

function problem(status: number, code: string, headers: Record<string, string> = {}): Response {
  return json({ type: "x", title: "x", status, code, detail: "why" }, status, headers);
}

const JOB = { id: "j", state: "queued", terminal: false };
const ORDER = { pickup: { mall: "m", stores: [] } } as never;

test("a submission is repeated under one key", async () => {
  const { sent, waits, options } = engine(
    new TypeError("reset"), new Response("<html>", { status: 404 }), problem(503, "draining", { "Retry-After": "2" }), json(JOB, 201),
  );
  const job = await new OrdersClient("https://e", "t", options).submit(ORDER);
  assert.equal(job.id, "j");
  assert.equal(new Set(sent.map(({ headers }) => headers["Idempotency-Key"])).size, 1);
  assert.match(sent[0]?.headers["Idempotency-Key"] ?? "", /^[0-9a-f]{32}$/);
  assert.equal(sent[0]?.headers["Authorization"], "Bearer t");
  assert.deepEqual(waits, [0.1, 0.2, 2.4]);
});

test("a wait asks again after the time that the engine names, within bounds", async () => {
  const { sent, waits, options } = engine(
    problem(503, "draining", { "Retry-After": "70" }),
    problem(503, "draining"),
    json({ ...JOB, terminal: true }),
  );
  const job = await new OrdersClient("https://e", "t", { ...options, tries: 1 }).wait("j", { timeoutS: 600 });
  assert.equal(job.terminal, true);
  assert.equal(sent.length, 3);
  assert.deepEqual(waits, [60, 1]);
});

test("a stream that is refused for now is resumed within a minute", async () => {
  const { waits, options } = engine(
    problem(503, "draining", { "Retry-After": "86400" }),
    problem(401, "unauthenticated"),
  );
  const events = new OrdersClient("https://e", "t", options).events("phoenix");
  await assert.rejects(events.next(), ApiProblem);
  assert.deepEqual(waits, [60.1]);
});

test("the error of a submission has its key", async () => {
  const { options } = engine(problem(422, "invalid_fields"));
  const error = await new OrdersClient("https://e", "t", options)
    .submit(ORDER, { key: "mine" })
    .catch((caught: unknown) => caught);
  assert.ok(error instanceof ApiProblem && error.idempotencyKey === "mine" && error.status === 422);
});

test("what is not repeatable is sent once, but for a 429", async () => {
  const unknown = engine(new TypeError("reset"), json(JOB));
  const change = new OrdersClient("https://e", "t", unknown.options).change("j", {}, { ifMatch: '"1"' });
  await assert.rejects(change, Unreachable);
  assert.equal(unknown.sent.length, 1);
  const limited = engine(problem(429, "rate_limited", { "Retry-After": "1" }), json(JOB));
  await new OrdersClient("https://e", "t", limited.options).change("j", {}, { ifMatch: '"1"' });
  assert.equal(limited.sent.length, 2);
});

test("six tries are made at most", async () => {
  const { sent, options } = engine();
  await assert.rejects(new OrdersClient("https://e", "t", options).get("j"), Unreachable);
  assert.equal(sent.length, 6);
});

test("a page that is no JSON is not the engine's", async () => {
  const { options } = engine(...Array.from({ length: 6 }, () => new Response("<html>")));
  await assert.rejects(new OrdersClient("https://e", "t", options).get("j"), BadAnswer);
});

test("a server that does not answer is passed over", async () => {
  const { sent, options } = engine(new TypeError("reset"), json(JOB), json(JOB), json(JOB));
  const orders = new OrdersClient(["https://a/", "https://b"], "t", options);
  for (let n = 0; n < 3; n += 1) await orders.get("j");
  assert.deepEqual(sent.map(({ url }) => new URL(url).host), ["a", "b", "b", "b"]);
});

test("ids are quoted in paths, colons are not", async () => {
  const { sent, options } = engine(json(JOB), json({}));
  await new OrdersClient("https://e", "t", options).get("a/b:c?");
  await new StoreClient("https://e", "t", "m/1", "s", options).handOver("j/1", "123456", 0);
  assert.deepEqual(sent.map(({ url }) => url), [
    "https://e/v1/jobs/a%2Fb:c%3F", "https://e/v1/stores/m%2F1/s/pickups/j%2F1/handover",
  ]);
  assert.deepEqual(sent[1]?.body, { code: "123456", parcels: 0 });
});

test("an address that is not HTTP is refused", () => {
  for (const url of ["ws://e", "e", "", "http://"]) assert.throws(() => new OrdersClient(url, "t"), TypeError);
});

test("pages are followed to the end", async () => {
  const { sent, options } = engine(json({ items: [JOB], next_cursor: "c" }), json({ items: [JOB], next_cursor: null }));
  const jobs = [];
  for await (const job of new OrdersClient("https://e", "t", options).jobs({ state: ["queued", "offered"] })) jobs.push(job);
  assert.equal(jobs.length, 2);
  assert.deepEqual(sent.map(({ url }) => url), ["https://e/v1/jobs?state=queued%2Coffered", "https://e/v1/jobs?state=queued%2Coffered&cursor=c"]);
});

test("Retry-After in seconds, as a time with a Date, or nonsense", () => {
  assert.equal(retryAfterS("7", null), 7);
  const date = "Wed, 21 Oct 2015 07:28:00 GMT";
  assert.equal(retryAfterS("Wed, 21 Oct 2015 07:28:09 GMT", date), 9);
  assert.equal(retryAfterS("Wed, 21 Oct 2015 07:00:00 GMT", date), 0);
  for (const header of [null, "", "-1", "1.5", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"]) {
    assert.equal(retryAfterS(header, null), undefined);
  }
});

function event(id: string, type = "job.queued"): string {
  return `id: ${id}\nevent: ${type}\ndata: ${JSON.stringify({ id, type, sequence: 1, market: "m", data: {} })}\n\n`;
}

test("a stream resumes after the last event, and a job's ends with the job", async () => {
  const { sent, options } = engine(
    new Response(`: hello\n\n${event("e1")}`, { headers: { "Last-Event-ID": "e0" } }),
    new TypeError("reset"),
    problem(503, "draining"),
    new Response(event("e2") + event("e3", "job.delivered")),
  );
  const ids = [];
  for await (const { id } of new OrdersClient("https://e", "t", options).jobEvents("j")) ids.push(id);
  assert.deepEqual(ids, ["e1", "e2", "e3"]);
  assert.deepEqual(sent.map(({ headers }) => headers["Last-Event-ID"]), [undefined, "e1", "e1", "e1"]);
  assert.ok(sent.every(({ url, headers }) => !url.includes("t=") && headers["Authorization"] === "Bearer t"));
});

test("a job's stream that ends before its last event goes on, though the job has ended since", async () => {
  const ended = { ...JOB, terminal: true };
  const { options } = engine(
    new Response(": hello\n\n"),
    json(ended),
    new Response(event("e1", "job.delivered")),
    new Response(": hello\n\n"),
    json(ended),
    new Response(": hello\n\n"),
  );
  const orders = new OrdersClient("https://e", "t", options);
  for (const [after, expected] of [["e0", ["e1"]], ["e1", []]] as const) {
    const ids = [];
    for await (const { id } of orders.jobEvents("j", { after })) ids.push(id);
    assert.deepEqual(ids, expected);
  }
});

test("a stream whose events are gone fails with the oldest", async () => {
  const gone = json({ type: "x", title: "x", status: 410, code: "events_trimmed", detail: "gone", oldest: "e9" }, 410);
  const { options } = engine(gone);
  const events = new OrdersClient("https://e", "t", options).events("m", { after: "e1" });
  const error = await events.next().catch((caught: unknown) => caught);
  assert.ok(error instanceof ApiProblem && error.oldest === "e9");
});

test("no call, wait or stream leaves a listener on the app's signal", async () => {
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  signal.addEventListener = (_: string, listener: unknown) => void listeners.add(listener);
  signal.removeEventListener = (_: string, listener: unknown) => void listeners.delete(listener);
  const event = 'id: e1\ndata: {"id": "e1", "type": "job.queued", "sequence": 1}\n\n';
  const gone = problem(410, "events_trimmed");
  const { options } = engine(
    problem(503, "draining"), json(JOB), new Response(event), new Response(event), gone,
  );
  const orders = new OrdersClient("https://e", "t", { fetch: options.fetch, random: () => 0 });
  await orders.get("j", { signal });
  assert.equal(listeners.size, 0);
  const seen = [];
  const reading = async (): Promise<void> => {
    for await (const { id } of orders.events("m", { after: "e0", signal })) seen.push(id);
  };
  await assert.rejects(reading, ApiProblem);
  assert.equal(seen.length, 2);
  assert.equal(listeners.size, 0);
});

test("an event stream is parsed in pieces of any size", () => {
  const text = "\ufeff".slice(1) + ": c\r\nid: 1\r\nevent: a\r\ndata: x\r\ndata: y\r\n\r\ndata:z\n\nid\ndata\n\rdata: q\r\r";
  for (let size = 1; size <= text.length; size += 1) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...parser.push(text.slice(at, at + size)));
    events.push(...parser.push("\n"));
    assert.deepEqual(events.map(({ id, type, data }) => [id, type, data]), [
      ["1", "a", "x\ny"], ["1", "message", "z"], ["", "message", ""], ["", "message", "q"],
    ], String(size));
  }
});

const SECRET = `whsec_${Buffer.from("a secret of the endpoint").toString("base64")}`;

function signed(body: string, at: number, secret = SECRET): Record<string, string> {
  const key = Buffer.from(secret.slice(6), "base64");
  const signature = createHmac("sha256", key).update(`e1.${at}.${body}`).digest("base64");
  return { "Webhook-Id": "e1", "webhook-timestamp": String(at), "webhook-signature": `v1a,x v1,${signature}` };
}

test("a webhook is read if one of the secrets signed it", async () => {
  const body = JSON.stringify({ id: "e1", type: "job.queued", sequence: 1, data: { name: "Zoë 🦆" } });
  const other = `whsec_${Buffer.from("another").toString("base64")}`;
  assert.equal((await readWebhook(body, signed(body, 1_000), [other, SECRET], 1_299)).id, "e1");
  assert.equal((await readWebhook(Buffer.from(body), new Headers(signed(body, 1_000)), SECRET, 1_000)).id, "e1");
  for (const [given, headers, nowS] of [
    [`${body} `, signed(body, 1_000), 1_000],
    [body, signed(body, 1_000, other), 1_000],
    [body, signed(body, 1_000), 1_301],
    [body, signed(body, 1_000), 699],
    [body, {}, 1_000],
    [body, { ...signed(body, 1_000), "Webhook-Id": "e2" }, 1_000],
    [body, { ...signed(body, 1_000), "webhook-timestamp": "1e3" }, 1_000],
    [body, { ...signed(body, 1_000), "webhook-signature": "v1,!!! v1 v1," }, 1_000],
    ["[]", signed("[]", 1_000), 1_000],
  ] as const) {
    await assert.rejects(readWebhook(given, headers as never, SECRET, nowS), BadWebhook);
  }
  for (const secret of ["", "whsec_", "secret", "whsec_!"]) await assert.rejects(readWebhook(body, {}, secret), TypeError);
});
