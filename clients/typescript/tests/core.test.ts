/** The pure core of a driver's session: bytes in, actions out, the time as an argument. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProgressMessage } from "../src/contract.js";
import type { Action } from "../src/driver/actions.js";
import { RequestRefused, Stopped } from "../src/errors.js";
import { events, only, Phone, sent, SERVER_MS, WELCOME } from "./phone.js";

test("it connects, says hello and is welcomed", () => {
  const phone = new Phone();
  const [connect] = only(phone.start(), "connect");
  assert.equal(connect?.url, "ws://engine");
  const [hello] = sent(phone.core.opened(phone.now, 1, true));
  assert.deepEqual(hello, { type: "hello", token: "token", now_ms: phone.wallMs, holds: [] });
  assert.deepEqual(events(phone.hears(WELCOME)), ["welcome", "driver_changed", "connected"]);
  assert.ok(phone.core.connection.connected);
});

test("times on the wire are the server's, whatever the phone's clock shows", () => {
  const phone = new Phone();
  phone.start();
  phone.online({ state: "on_run", jobs: [{ job: "j", attempt: 1, state: "assigned" }] });
  phone.wallMs += 7_200_000;
  const at_ms = phone.wallMs - 60_000;
  const [report] = sent(phone.core.progress(phone.now, 1, { job: "j", step: "at_mall", at_ms }));
  assert.equal(report?.type === "progress" && report.at_ms, SERVER_MS - 60_000);
});

test("reports go one by one, in order, and settle their calls", () => {
  const phone = new Phone();
  phone.start();
  phone.online({ state: "on_run", jobs: [{ job: "j", attempt: 2, state: "assigned" }] });
  const first = sent(phone.core.progress(phone.now, 1, { job: "j", step: "at_mall" }));
  const second = sent(phone.core.progress(phone.now, 2, { job: "j", step: "picked_up" }));
  assert.deepEqual([first.length, second.length], [1, 0]);
  const id = (first[0] as { id: number }).id;
  const taken = phone.hears({ type: "reply", id, state: "on_run", job: "j", job_state: "at_mall", attempt: 2 });
  assert.deepEqual(only(taken, "settle").map(({ call }) => call), [1]);
  assert.deepEqual(sent(taken).map((message) => message.type === "progress" && message.step), ["picked_up"]);
});

test("a report that is refused for now is sent again after a wait", () => {
  const phone = new Phone();
  phone.start();
  phone.online({ state: "on_run", jobs: [{ job: "j", attempt: 1, state: "assigned" }] });
  const [report] = sent(phone.core.progress(phone.now, 1, { job: "j", step: "at_mall" }));
  const id = (report as { id: number }).id;
  const refused = phone.hears({ type: "error", id, code: "store_unavailable", message: "", retry: true });
  assert.deepEqual(sent(refused), []);
  assert.equal(sent(phone.pass(600)).length, 1);
});

test("a report that is refused for good fails and makes way", () => {
  const phone = new Phone();
  phone.start();
  phone.online({ state: "on_run", jobs: [{ job: "j", attempt: 1, state: "assigned" }] });
  const [report] = sent(phone.core.progress(phone.now, 1, { job: "j", step: "delivered" }));
  const id = (report as { id: number }).id;
  const refused = phone.hears({
    type: "error", id, code: "proof_needed", message: "", retry: false, missing: ["pin"],
  });
  const [settled] = only(refused, "settle");
  assert.ok(settled?.error instanceof RequestRefused && settled.error.missing[0] === "pin");
  assert.equal(phone.core.session.reports.size, 0);
});

test("a confirmed end that the engine has lost is reported again", () => {
  const phone = new Phone();
  const held = { job: "j", attempt: 3, state: "picked_up" };
  phone.start();
  phone.online({ state: "on_run", jobs: [held] });
  const report = { job: "j", step: "delivered", proof: { kind: "code", value: "1234" } } as const;
  const first = sent(phone.did(phone.core.progress(phone.now, 1, report)))[0] as ProgressMessage;
  const done = { type: "reply", state: "available", job: "j", job_state: "delivered" };
  phone.hears({ ...done, id: first.id, attempt: 3 });
  phone.did(phone.core.closed(phone.now, 1, { reason: "lost", code: 1006 }));
  phone.pass(5_000);
  const again = sent(phone.online({ state: "on_run", jobs: [{ ...held, attempt: 4 }] }, 2));
  const second = again.find(({ type }) => type === "progress") as ProgressMessage;
  assert.deepEqual(second, { ...first, id: second.id, attempt: 4 });
  phone.hears({ ...done, id: second.id, attempt: 4 }, 2);
  assert.deepEqual([phone.core.session.view.jobs.size, phone.core.session.queued], [0, []]);
});

test("what was saved is reported by the next run of the app", () => {
  const phone = new Phone();
  phone.start();
  phone.online({ state: "on_run", jobs: [{ job: "j", attempt: 3, state: "assigned" }] });
  phone.did(phone.core.closed(phone.now, 1, { reason: "lost", code: 1006 }));
  phone.did(phone.core.progress(phone.now, 1, { job: "j", step: "picked_up" }));
  const saved = only(phone.actions, "save").at(-1)?.document;
  const next = new Phone();
  next.wallMs += 3_600_000;
  next.start(saved);
  assert.equal(next.core.session.reports.size, 1);
  const [hello] = sent(next.core.opened(next.now, 1, true));
  assert.deepEqual(hello?.type === "hello" && hello.holds, [{ job: "j", attempt: 3, state: "assigned" }]);
  const [report] = sent(next.hears({ ...WELCOME, server_time_ms: SERVER_MS + 3_600_000 }));
  assert.ok(report?.type === "progress" && report.step === "picked_up" && report.attempt === 3);
  assert.equal(report.at_ms, SERVER_MS);
});

test("a document that cannot be read is not fatal", () => {
  for (const document of ["", "x", "null", "7", '{"reports": [7, {"job": 1}], "holds": {}}', null]) {
    const phone = new Phone();
    phone.start(document ?? undefined);
    assert.equal(phone.core.session.reports.size, 0);
  }
});

test("close codes: try again with jitter, or stop", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  const lost = phone.did(phone.core.closed(phone.now, 1, { reason: "slow", code: 4002 }));
  assert.deepEqual(events(lost), ["disconnected"]);
  assert.equal(only(phone.pass(500), "connect").length, 1);
  const over = phone.did(phone.core.closed(phone.now, 2, { reason: "", code: 4507 }));
  assert.deepEqual(events(over), ["ended"]);
  assert.equal(phone.core.connection.stopped?.closeCode, 4507);
  assert.equal(only(phone.pass(600_000), "connect").length, 0);
});

test("a drain's time takes precedence, and a hint does not shorten it", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  phone.hears({ type: "drain", reconnect_after_ms: 3_000 });
  phone.did(phone.core.closed(phone.now, 1, { reason: "", code: 4001 }));
  phone.did(phone.core.networkIsBack(phone.now));
  assert.equal(only(phone.pass(2_999), "connect").length, 0);
  assert.equal(only(phone.pass(1), "connect").length, 1);
});

test("a hint ends a wait, once a second", () => {
  const phone = new Phone();
  phone.start();
  phone.did(phone.core.closed(phone.now, 1, { reason: "refused" }));
  assert.equal(phone.core.connection.reconnectingInS, 0.5);
  phone.did(phone.core.networkIsBack(phone.now));
  assert.equal(only(phone.pass(0), "connect").length, 1);
});

test("an idle socket is pinged, and dropped when nothing comes", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  assert.equal(only(phone.pass(10_000), "ping").length, 1);
  phone.did(phone.core.ponged(phone.now, 1));
  assert.equal(only(phone.pass(10_000), "ping").length, 1);
  const dropped = phone.pass(8_000);
  assert.deepEqual(only(dropped, "close"), [{ do: "close", link: 1, abort: true }]);
  assert.deepEqual(events(dropped), ["disconnected"]);
});

test("without pings of its own it sends a request that any engine answers", () => {
  const phone = new Phone();
  phone.start();
  phone.did(phone.core.opened(phone.now, 1, false));
  phone.hears(WELCOME);
  const [probe] = sent(phone.pass(10_000));
  const { id } = probe as { id: number };
  phone.hears({ type: "error", id, code: "unknown_type", message: "", retry: false });
  assert.deepEqual(only(phone.pass(8_000), "close"), []);
});

test("a timer that fires late shows a sleep: the socket is checked", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  phone.nowMs += 600_000;
  const woken = phone.did(phone.core.tick(phone.now));
  assert.ok(only(woken, "ping").length === 1 || events(woken).includes("disconnected"));
});

test("fixes are cleaned, batched at the advised pace and kept while offline", () => {
  const phone = new Phone();
  phone.start();
  const { kept } = phone.core.location(phone.now, {
    lat: 33.123456789, lon: -111.9, acc_m: -1, heading_deg: -1, speed_mps: NaN,
  });
  assert.ok(kept);
  assert.equal(phone.core.location(phone.now, { lat: NaN, lon: 0 }).kept, false);
  assert.equal(phone.core.location(phone.now, { lat: 91, lon: 0 }).kept, false);
  assert.equal(phone.core.location(phone.now, { lat: "33" as never, lon: 0 }).kept, false);
  // A reading that the platform had cached: from an hour ago, or older than the last one.
  assert.equal(phone.core.location(phone.now, { lat: 33, lon: 0, at_ms: phone.wallMs - 3_600_000 }).kept, false);
  assert.equal(phone.core.location(phone.now, { lat: 33, lon: 0, at_ms: phone.wallMs - 30_000 }).kept, false);
  // A time by another epoch is none.
  assert.equal(phone.core.location(phone.now, { lat: 33.5, lon: -111, at_ms: 785_000_000_000 }).kept, true);
  const [location] = sent(phone.online()).filter(({ type }) => type === "location");
  assert.deepEqual(location?.type === "location" && location.fixes, [
    [SERVER_MS, 33.1234568, -111.9, null, null, null],
    [SERVER_MS, 33.5, -111, null, null, null],
  ]);
  const now = phone.core.location(phone.now, { lat: 33, lon: -111 });
  assert.equal(sent(now.actions).length, 1);
  phone.pass(1_000);
  assert.equal(sent(phone.core.location(phone.now, { lat: 33, lon: -111 }).actions).length, 0);
  assert.equal(sent(phone.pass(3_000)).length, 1);
});

test("fixes of a frame that could not be sent are kept", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  const { actions } = phone.core.location(phone.now, { lat: 33, lon: -111 });
  phone.did(phone.core.unsent(phone.now, only(actions, "send")[0]?.fixes ?? []));
  assert.equal(phone.core.session.fixes.size, 1);
});

test("fixes that the engine refused for now wait for the time that it names", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  const fix = { lat: 33, lon: -111 };
  const refused = only(phone.did(phone.core.location(phone.now, fix).actions), "send")[0];
  phone.did(phone.core.unsent(phone.now, refused?.fixes ?? [], 20));
  assert.equal(phone.core.session.fixes.size, 1);
  phone.pass(8_000);
  phone.did(phone.core.location(phone.now, fix).actions);
  assert.deepEqual(sent(phone.passAlive(11_000)).filter(({ type }) => type === "location"), []);
  const later = sent(phone.passAlive(1_000)).filter(({ type }) => type === "location");
  assert.deepEqual(later.map((message) => message.type === "location" && message.fixes.length), [2]);
});

test("fixes that wait for that time survive a reconnect", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  const fix = { lat: 33, lon: -111 };
  const refused = only(phone.did(phone.core.location(phone.now, fix).actions), "send")[0];
  phone.did(phone.core.unsent(phone.now, refused?.fixes ?? [], 20));
  phone.did(phone.core.closed(phone.now, 1, { reason: "lost", code: 1006 }));
  phone.pass(5_000);
  assert.deepEqual(sent(phone.online({}, 2)), []);
  const later = sent(phone.passAlive(20_000, 2)).filter(({ type }) => type === "location");
  assert.equal(later.length, 1);
});

test("fixes of several frames that come back are in order again", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  const frames = [0, 1].map(() => {
    const { actions } = phone.core.location(phone.now, { lat: 33, lon: -111 });
    return only([...phone.did(actions), ...phone.passAlive(5_000)], "send")[0]?.fixes ?? [];
  });
  for (const fixes of frames) phone.did(phone.core.unsent(phone.now, fixes, 20));
  const times = phone.core.session.fixes.take().map(({ upMs }) => upMs);
  assert.deepEqual(times, [1_000, 6_000]);
});

test("many stored fixes are sent as fast as a socket may send, and a status follows them", () => {
  const phone = new Phone({ fixLimit: 5_000 });
  phone.start();
  phone.takeFixes(4_500);
  const types = (actions: Action[]): string[] =>
    sent(actions)
      .map(({ type }) => type)
      .filter((type) => type === "location" || type === "status");
  assert.equal(types(phone.online()).length, 20);
  assert.deepEqual(types(phone.did(phone.core.status(phone.now, 1, "available"))), []);
  assert.deepEqual(types(phone.pass(3_900)), []);
  assert.equal(types(phone.pass(200)).length, 20);
  const rest = types(phone.passAlive(4_000));
  assert.deepEqual(rest, [...Array<string>(5).fill("location"), "status"]);
});

test("requests that wait for fixes keep their order", () => {
  const phone = new Phone({ fixLimit: 5_000, requestTimeoutS: 60 });
  phone.start();
  phone.takeFixes(2_500);
  phone.online();
  phone.did(phone.core.progress(phone.now, 1, { job: "j", attempt: 1, step: "returned" }));
  // Time passes, but the timer has not fired when the next request comes.
  phone.nowMs += 4_000;
  phone.did(phone.core.status(phone.now, 2, "available"));
  const types = sent(phone.actions).map(({ type }) => type);
  assert.deepEqual(types.slice(-3), ["location", "progress", "status"]);
});

test("a status that waits for fixes is sent once, on the next connection if this one ends", () => {
  const phone = new Phone({ fixLimit: 5_000, requestTimeoutS: 60 });
  phone.start();
  phone.takeFixes(2_500);
  phone.online();
  phone.did(phone.core.status(phone.now, 1, "available"));
  phone.did(phone.core.closed(phone.now, 1, { reason: "lost", code: 1006 }));
  phone.pass(3_000);
  phone.online({}, 2);
  phone.passAlive(10_000, 2);
  assert.equal(sent(phone.actions).filter(({ type }) => type === "status").length, 1);
});

test("a full buffer drops the oldest fix", () => {
  const phone = new Phone();
  for (let n = 0; n < 12; n += 1) {
    phone.nowMs += 1_000;
    phone.core.location(phone.now, { lat: 33, lon: n });
  }
  assert.deepEqual([phone.core.session.fixes.size, phone.core.session.fixes.dropped], [10, 2]);
  assert.equal(phone.core.session.fixes.take()[0]?.lon, 2);
});

test("a call without an answer fails, and its late answer still counts", () => {
  const phone = new Phone();
  phone.start();
  phone.online();
  const offer = { type: "offer", seq: 1, offer: "o", attempt: 1, jobs: [], mall: {}, eta_s: 1, distance_m: 1,
    expires_ms: SERVER_MS + 60_000, server_time_ms: SERVER_MS };
  assert.deepEqual(sent(phone.hears(offer)), [{ type: "offer_ack", offer: "o" }]);
  const [accept] = sent(phone.core.accept(phone.now, 7, "o"));
  const failed = phone.pass(10_000);
  assert.equal(only(failed, "settle")[0]?.error?.name, "NoAnswer");
  const id = (accept as { id: number }).id;
  phone.hears({ type: "reply", id, state: "on_run", jobs: [{ job: "j", attempt: 1, state: "assigned" }] });
  assert.deepEqual([...phone.core.session.view.jobs.keys()], ["j"]);
});

test("a stopped client fails its calls and keeps its reports", () => {
  const phone = new Phone();
  phone.start();
  phone.online({ state: "on_run", jobs: [{ job: "j", attempt: 1, state: "assigned" }] });
  phone.core.status(phone.now, 1, "paused");
  phone.core.progress(phone.now, 2, { job: "j", step: "at_mall" });
  const stopped = phone.core.stop(phone.now, new Stopped("by the app", undefined, true));
  assert.deepEqual(only(stopped, "settle").map(({ call, error }) => [call, error?.name]), [[1, "Stopped"], [2, "Stopped"]]);
  assert.equal(phone.core.session.reports.size, 1);
  phone.did(phone.core.start(phone.now));
  assert.equal(sent(phone.online({}, 2)).filter(({ type }) => type === "progress").length, 1);
});

test("tokens are asked for with growing gaps while the provider gives the expired one", () => {
  const phone = new Phone({ token: undefined });
  const asks: number[] = [];
  const give = (actions: Action[]): void => {
    for (const { ask } of only(actions, "token")) {
      asks.push(phone.nowMs);
      give(phone.did(phone.core.tokenGiven(phone.now, ask, "same")));
    }
  };
  give(phone.start());
  phone.online();
  give(phone.did(phone.core.closed(phone.now, 1, { reason: "", code: 4005 })));
  for (let second = 0; second < 60; second += 1) give(phone.pass(1_000));
  assert.ok(asks.length >= 4 && asks.length <= 7, String(asks));
  const gaps = asks.slice(2).map((at, n) => at - (asks[n + 1] ?? 0));
  assert.ok(gaps.every((gap, n) => gap >= Math.min(30_000, 2_000 * 2 ** n)), String(gaps));
});

test("HTTP stands in when no socket can be had, and a socket is tried again", () => {
  const phone = new Phone({ httpAfterS: 20 });
  phone.start();
  let link = 1;
  let over = "socket";
  for (let tries = 0; tries < 20 && over === "socket"; tries += 1) {
    phone.did(phone.core.closed(phone.now, link, { reason: "refused" }));
    const [connect] = only(phone.pass(10_000), "connect");
    link = connect?.link ?? 0;
    over = connect?.over ?? "";
  }
  assert.equal(over, "http");
  phone.did(phone.core.opened(phone.now, link, false));
  phone.hears(WELCOME, link);
  assert.equal(phone.core.connection.over, "http");
  const [connect] = only(phone.pass(30_000), "connect");
  assert.equal(connect?.over, "socket");
});
