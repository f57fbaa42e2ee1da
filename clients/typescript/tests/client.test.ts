/** `DriverClient`: what is around the core, with a WebSocket and storages made up here. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { JSON_CODEC } from "../src/codec.js";
import type { OfferMessage, ServerMessage } from "../src/contract.js";
import { DriverClient, type DriverOptions } from "../src/driver/client.js";
import { AsyncStorage, MemoryStorage, WebStorage } from "../src/driver/storage.js";
import { Stopped } from "../src/errors.js";
import { WELCOME } from "./phone.js";

type Listener = (event: unknown) => void;

/** A browser's WebSocket, the other end of which is the test. */
class FakeSocket {
  static all: FakeSocket[] = [];
  binaryType = "blob";
  readyState = 0;
  sent: Array<{ type: string; id?: number }> = [];
  private readonly listeners = new Map<string, Listener>();

  constructor(
    readonly url: string,
    readonly subprotocols: string[],
  ) {
    FakeSocket.all.push(this);
  }

  addEventListener(type: string, listener: Listener): void {
    this.listeners.set(type, listener);
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data) as { type: string });
  }

  close(): void {
    this.readyState = 3;
  }

  open(welcome: object = {}): void {
    this.readyState = 1;
    this.listeners.get("open")?.({});
    this.say({ ...WELCOME, ...welcome });
  }

  say(message: object): void {
    this.listeners.get("message")?.({ data: JSON_CODEC.encode(message as ServerMessage) });
  }

  end(code: number): void {
    this.readyState = 3;
    this.listeners.get("close")?.({ code, reason: "" });
  }
}

const RUN = { state: "on_run", jobs: [{ job: "j", attempt: 1, state: "assigned" }] };

function client(options: DriverOptions = {}) {
  const errors: unknown[] = [];
  const app = new DriverClient("https://engine.example/", "token", {
    webSocket: FakeSocket,
    subprotocol: "mallard.v1.json",
    httpAfterS: null,
    onError: (error) => errors.push(error),
    ...options,
  });
  return { app, errors };
}

async function started(options: DriverOptions = {}, welcome: object = {}) {
  const { app, errors } = client(options);
  const before = FakeSocket.all.length;
  app.start();
  while (FakeSocket.all.length === before) await new Promise((resolve) => setTimeout(resolve));
  const socket = FakeSocket.all.at(-1) as FakeSocket;
  socket.open(welcome);
  await app.online();
  return { app, errors, socket };
}

test("the token is in the first message and in no address", async () => {
  const { app, socket } = await started();
  assert.equal(socket.url, "wss://engine.example/v1/driver");
  assert.deepEqual(socket.subprotocols, ["mallard.v1.json"]);
  assert.equal(socket.binaryType, "arraybuffer");
  assert.equal((socket.sent[0] as { token?: string }).token, "token");
  await app.stop();
});

test("an address that is no engine's is refused at once", () => {
  for (const url of ["engine.example", "ftp://engine", "", "wss://"]) {
    assert.throws(() => new DriverClient(url, "token"), TypeError, url);
  }
  assert.throws(() => new DriverClient([], "token"), TypeError);
});

test("a listener that fails does not affect the others", async () => {
  const { app, errors, socket } = await started();
  const heard: string[] = [];
  app.on("offer", () => {
    throw new Error("a fault of the app's");
  });
  app.on("offer", async () => {
    await Promise.resolve();
    throw new Error("a later fault");
  });
  const leave = app.onEvent(({ type }) => heard.push(type));
  const offer = { type: "offer", seq: 1, offer: "o", attempt: 1, jobs: [], mall: {}, eta_s: 1, distance_m: 1 };
  socket.say({ ...offer, expires_ms: app.serverNowMs() + 60_000, server_time_ms: app.serverNowMs() });
  const { value } = await app.offers().next();
  assert.equal((value as OfferMessage).offer, "o");
  assert.equal(errors.length, 2);
  assert.ok(heard.includes("offer"));
  leave();
  socket.say({ type: "state", seq: 2, state: "paused", why: "suspended" });
  assert.ok(!heard.includes("state"));
  await app.stop();
});

test("what a listener causes follows what is being done", async () => {
  const { app, socket } = await started({}, RUN);
  app.on("job", () => void app.progress("j", "at_mall"));
  socket.sent = [];
  const detail = { job: "k", attempt: 1, state: "assigned" };
  socket.say({ type: "job", seq: 1, job: "k", attempt: 1, state: "assigned", detail });
  assert.deepEqual(socket.sent.map(({ type }) => type), ["progress"]);
  assert.deepEqual([...app.jobs.keys()], ["j", "k"]);
  await app.stop();
});

test("a step is saved before the call returns, and its queue is shown", async () => {
  const storage = new MemoryStorage();
  const { app } = await started({ storage }, RUN);
  void app.progress("j", "at_mall");
  assert.match(storage.document ?? "", /"step":"at_mall"/);
  assert.deepEqual(app.queued.map(({ job, step }) => [job, step]), [["j", "at_mall"]]);
  await app.stop();
});

test("an asynchronous storage gets one document after the other, the last one at last", async () => {
  const saved: string[] = [];
  let running = 0;
  const area = {
    getItem: () => Promise.resolve(null),
    async setItem(_key: string, document: string) {
      assert.equal((running += 1), 1);
      await new Promise((resolve) => setTimeout(resolve, 5));
      saved.push(document);
      running -= 1;
    },
  };
  const { app } = await started({ storage: new AsyncStorage(area) }, RUN);
  for (const step of ["at_mall", "picked_up", "delivered"] as const) void app.progress("j", step);
  await app.stop();
  assert.ok(saved.length <= 3, String(saved.length));
  assert.match(saved.at(-1) ?? "", /at_mall.*picked_up.*delivered/);
});

test("a storage that fails is reported, and the client goes on", async () => {
  const area = {
    getItem(): string | null {
      throw new Error("SecurityError");
    },
    setItem(): void {
      throw new Error("QuotaExceededError");
    },
  };
  const { app, errors } = await started({ storage: new WebStorage("k", area) }, RUN);
  void app.progress("j", "at_mall");
  assert.ok(errors.length >= 2);
  assert.equal(app.unreported, 1);
  await app.stop();
});

test("fixes that a closing socket cannot carry are kept", async () => {
  const { app, socket } = await started();
  socket.readyState = 2;
  assert.ok(app.location({ lat: 33, lon: -111 }));
  assert.equal(app.fixesWaiting, 1);
  await app.stop();
});

test("stop ends calls and offers, and a later start goes on", async () => {
  const { app } = await started();
  const asking = app.status("available");
  await app.stop();
  await assert.rejects(asking, Stopped);
  assert.deepEqual(await app.offers().next(), { value: undefined, done: true });
  const before = FakeSocket.all.length;
  app.start();
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(FakeSocket.all.length, before + 1);
  await app.stop();
});

test("a call right after start waits until the saved state is loaded", async () => {
  const slow = {
    getItem: () => new Promise<null>((resolve) => setTimeout(() => resolve(null), 5)),
    setItem: () => Promise.resolve(),
  };
  for (const storage of [undefined, new MemoryStorage(), new AsyncStorage(slow)]) {
    const { app } = client({ storage });
    for (const wish of ["available", "paused"] as const) {
      const before = FakeSocket.all.length;
      app.start();
      const asking = app.status(wish);
      while (FakeSocket.all.length === before) await new Promise((resolve) => setTimeout(resolve));
      const socket = FakeSocket.all.at(-1) as FakeSocket;
      socket.open();
      const { id } = socket.sent.find(({ type }) => type === "status") ?? {};
      socket.say({ type: "reply", id, state: wish });
      assert.equal((await asking).state, wish);
      await app.stop();
    }
  }
});

test("a step right after start is of the job that an asynchronous storage has kept", async () => {
  const storage = new MemoryStorage();
  await (await started({ storage }, RUN)).app.stop();
  const area = {
    getItem: () => new Promise<string>((resolve) => setTimeout(() => resolve(storage.document ?? ""), 5)),
    setItem: async (_key: string, document: string) => storage.save(document),
  };
  const { app } = client({ storage: new AsyncStorage(area) });
  app.start();
  const told = Promise.allSettled([app.progress("j", "at_mall"), app.progress("x", "at_mall")]);
  await app.stop();
  assert.match(storage.document ?? "", /"step":"at_mall"/);
  const [kept, unknown] = (await told).map((each) => (each as PromiseRejectedResult).reason);
  assert.ok(kept instanceof Stopped && unknown instanceof RangeError, `${kept} ${unknown}`);
});

test("a call without a start, or right before a stop, is refused", async () => {
  const { app } = client();
  await assert.rejects(app.status("available"), /was not started/);
  app.start();
  const asking = app.status("available");
  await app.stop();
  await assert.rejects(asking, /stopped by the app/);
});

test("a final close code ends the client with its reason", async () => {
  const { app, socket } = await started();
  const offers = app.offers().next();
  socket.end(4507);
  await assert.rejects(offers, (error) => error instanceof Stopped && error.closeCode === 4507);
  await assert.rejects(app.online(), Stopped);
  await app.stop();
});

test("a call is given up by its signal, and its answer still counts", async () => {
  const { app, socket } = await started();
  const giveUp = new AbortController();
  const asking = app.status("paused", { signal: giveUp.signal });
  giveUp.abort();
  await assert.rejects(asking, { name: "AbortError" });
  const { id } = socket.sent.at(-1) as { id: number };
  socket.say({ type: "reply", id, state: "paused" });
  assert.equal(app.state, "paused");
  assert.equal(app.wish, "paused");
  await app.stop();
});

test("without any WebSocket it says what to do, and tries on", async () => {
  const errors: unknown[] = [];
  const app = new DriverClient("ws://e", "t", { onError: (error) => errors.push(error), httpAfterS: null });
  const had = globalThis.WebSocket;
  Reflect.deleteProperty(globalThis, "WebSocket");
  app.start();
  while (!errors.length) await new Promise((resolve) => setTimeout(resolve));
  if (had !== undefined) globalThis.WebSocket = had;
  assert.match(String(errors[0]), /option webSocket/);
  assert.equal(app.stopped, undefined);
  await app.stop();
});
