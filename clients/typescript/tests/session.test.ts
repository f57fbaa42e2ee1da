/** What a session keeps true over a second welcome, custody, tokens and other drivers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { only, Phone, sent, SERVER_MS, WELCOME } from "./phone.js";

const RUN = { state: "on_run", jobs: [{ job: "j", attempt: 1, state: "picked_up" }] };

function online(welcome: object = {}, options = {}): Phone {
  const phone = new Phone(options);
  phone.start();
  phone.online(welcome);
  return phone;
}

function idOf(message: unknown): number {
  return (message as { id: number }).id;
}

test("a second welcome repeats what is unanswered under its id, and holds if asked", () => {
  const phone = online(RUN);
  const [report] = sent(phone.core.progress(phone.now, 1, { job: "j", step: "delivered" }));
  const again = sent(phone.hears({ ...WELCOME, seq: 0, state: "available", say_hello: true }));
  assert.deepEqual(again.map(({ type }) => type), ["hello", "progress"]);
  assert.equal(idOf(again[1]), idOf(report));
  const [hello] = again;
  assert.deepEqual(hello?.type === "hello" && hello.holds, [{ job: "j", attempt: 1, state: "picked_up" }]);
  assert.deepEqual(sent(phone.hears({ ...WELCOME, ...RUN })).map(({ type }) => type), ["progress"]);
});

test("a push with an old seq changes nothing", () => {
  const phone = online({ seq: 7 });
  phone.hears({ type: "state", seq: 7, state: "paused", why: "suspended" });
  assert.equal(phone.core.session.view.state, "available");
  phone.hears({ type: "state", seq: 8, state: "paused", why: "suspended" });
  assert.deepEqual([phone.core.session.view.state, phone.core.session.view.barred?.why], ["paused", "suspended"]);
});

test("a step that is refused for now is repeated after the time that the engine names", () => {
  const phone = online(RUN);
  const refused = (message: unknown, retry_after_s?: number) =>
    phone.hears({
      type: "error", id: idOf(message), code: "store_unavailable", message: "", retry: true, retry_after_s,
    } as never);
  const steps = (ms: number) => sent(phone.passAlive(ms)).filter(({ type }) => type === "progress");
  const [first] = sent(phone.core.progress(phone.now, 1, { job: "j", step: "delivered" }));
  refused(first, 7);
  assert.equal(steps(7_400).length, 0);
  const [second] = steps(200);
  refused(second, 86_400);
  assert.equal(steps(60_900).length, 0);
  assert.equal(steps(200).length, 1);
});

test("what another driver left on the phone is dropped", () => {
  const phone = online(RUN);
  phone.core.progress(phone.now, 1, { job: "j", step: "delivered" });
  phone.did(phone.core.closed(phone.now, 1, { reason: "lost", code: 1006 }));
  phone.pass(1_000);
  const welcomed = phone.online({ driver: "d2" }, 2);
  assert.equal(phone.core.session.reports.size, 0);
  assert.deepEqual(sent(welcomed).filter(({ type }) => type === "progress"), []);
  assert.deepEqual(only(welcomed, "settle").map(({ call }) => call), [1]);
  assert.equal(phone.core.session.view.attemptOf("j"), undefined);
});

test("one renewal runs at a time, and a short-lived token waits for half of its life", () => {
  const phone = online({}, { token: undefined });
  phone.did(phone.core.tokenGiven(phone.now, 1, "first"));
  phone.online();
  const expiring = { type: "auth_expiring", at_ms: SERVER_MS + 50_000 };
  assert.equal(only([...phone.hears(expiring), ...phone.hears(expiring), ...phone.pass(1_000)], "token").length, 1);
  const [auth] = sent(phone.did(phone.core.tokenGiven(phone.now, 2, "second")));
  assert.equal(auth?.type === "auth" && auth.token, "second");
  phone.hears({ type: "reply", id: idOf(auth), state: "available" });
  assert.deepEqual(only([...phone.hears(expiring), ...phone.passAlive(20_000)], "token"), []);
  assert.equal(only(phone.passAlive(10_000), "token").length, 1);
});

test("a new pace holds from now on, and ends a wait that has begun", () => {
  const phone = online();
  phone.core.location(phone.now, { lat: 33, lon: 1 });
  phone.pass(100);
  assert.deepEqual(sent(phone.core.location(phone.now, { lat: 33, lon: 2 }).actions), []);
  assert.deepEqual(sent(phone.hears({ type: "pace", location_ms: 20_000 })).map(({ type }) => type), ["location"]);
  assert.equal(phone.core.session.locationMs, 20_000);
  phone.core.location(phone.now, { lat: 33, lon: 3 });
  assert.deepEqual(sent(phone.passAlive(19_000)).filter(({ type }) => type === "location"), []);
  assert.equal(sent(phone.passAlive(1_000)).filter(({ type }) => type === "location").length, 1);
});

test("the wanted status is said again after an absence, until its time is over", () => {
  const phone = online();
  const [status] = sent(phone.core.status(phone.now, 1, "paused", phone.wallMs + 60_000));
  phone.hears({ type: "reply", id: idOf(status), state: "paused" });
  const said = sent(phone.hears({ ...WELCOME, state: "offline" })).filter(({ type }) => type === "status");
  assert.deepEqual(said.map((each) => each.type === "status" && [each.state, each.until_ms]), [["paused", SERVER_MS + 60_000]]);
  phone.hears({ type: "reply", id: idOf(said[0]), state: "paused" });
  phone.passAlive(61_000);
  const late = { ...WELCOME, state: "offline", server_time_ms: SERVER_MS + 61_000 };
  assert.deepEqual(sent(phone.hears(late)).filter(({ type }) => type === "status"), []);
});

test("a wanted status that is refused for now is said again after the time that the engine names", () => {
  const phone = online();
  const statuses = (actions: ReturnType<Phone["pass"]>) => sent(actions).filter(({ type }) => type === "status");
  const refused = (message: unknown, retry_after_s: number) =>
    phone.hears({
      type: "error", id: idOf(message), code: "store_unavailable", message: "", retry: true, retry_after_s,
    } as never);
  const [asked] = sent(phone.core.status(phone.now, 1, "paused"));
  phone.hears({ type: "reply", id: idOf(asked), state: "paused" });
  const [first] = statuses(phone.hears({ ...WELCOME, state: "offline" }));
  refused(first, 7);
  assert.equal(statuses(phone.passAlive(7_400)).length, 0);
  const [second] = statuses(phone.passAlive(200));
  refused(second, 86_400);
  assert.equal(statuses(phone.passAlive(60_900)).length, 0);
  assert.equal(statuses(phone.passAlive(200)).length, 1);
});

test("later steps follow custody to the raised attempt", () => {
  const phone = online(RUN);
  const [report] = sent(phone.core.progress(phone.now, 1, { job: "j", step: "picked_up" }));
  phone.core.progress(phone.now, 2, { job: "j", step: "delivered" });
  const reply = { type: "reply", id: idOf(report), state: "on_run", job: "j", job_state: "picked_up", attempt: 4 };
  const [next] = sent(phone.hears(reply));
  assert.deepEqual(next?.type === "progress" && [next.step, next.attempt], ["delivered", 4]);
});

test("each timed step is later than the last one, within one millisecond too", () => {
  const phone = online(RUN);
  const times: number[] = [];
  for (const step of ["at_door", "returning", "resume"] as const) {
    phone.core.progress(phone.now, 1, { job: "j", step });
    times.push(phone.core.clock.onServer(phone.core.session.reports.all.at(-1)!.at));
  }
  assert.deepEqual(times, [SERVER_MS, SERVER_MS + 1, SERVER_MS + 2]);
});

test("a step of a job that was never held needs its attempt", () => {
  const phone = online();
  assert.throws(() => phone.core.progress(phone.now, 1, { job: "x", step: "at_mall" }), RangeError);
  assert.equal(sent(phone.core.progress(phone.now, 2, { job: "x", step: "at_mall", attempt: 3 })).length, 1);
});
