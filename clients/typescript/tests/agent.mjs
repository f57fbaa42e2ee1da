// A driver app that another process drives: one JSON object a line on stdin and stdout.
//
// A command is {id, do, …}; its answer {id, gives} or {id, fails: {name, message}} comes when the call
// of the client is settled. The agent asks for a token with {ask} and is told {token} or {token: null}.
// Options come as the first line.

import { readFileSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import WebSocket from "ws";
import { DriverClient } from "../dist/index.js";

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { url, file, subprotocol, options } = JSON.parse((await lines.next()).value);

let stepMs = 0;
let giveToken;
const now = () => ({ wallMs: Date.now() + stepMs, upMs: performance.now() });
const token = () =>
  new Promise((resolve, reject) => {
    giveToken = (given) => (given === null ? reject(new Error("no network")) : resolve(given));
    say({ ask: "token" });
  });
const storage = {
  load() {
    try {
      return readFileSync(file, "utf8");
    } catch {
      return null;
    }
  },
  save: (document) => writeFileSync(file, document),
};
const app = new DriverClient(url, token, {
  storage,
  now,
  subprotocol,
  webSocket: WebSocket,
  httpAfterS: null,
  ...options,
});
const offers = app.offers();
const shown = new Map();
const running = new Map();
const shows = {
  connected: () => app.connected,
  state: () => app.state,
  barred: () => app.barred?.why ?? null,
  jobs: () => Object.fromEntries([...app.jobs].map(([job, { state }]) => [job, state])),
  location_ms: () => app.locationMs,
  unreported: () => app.unreported,
  stopped: () => app.stopped?.closeCode ?? null,
  over: () => app.over ?? null,
};
const commands = {
  accept: ({ offer }, signal) => app.accept(shown.get(offer), { signal }),
  decline: ({ offer }, signal) => app.decline(shown.get(offer), undefined, { signal }),
  status: ({ wish }, signal) => app.status(wish, { signal }),
  progress: ({ job, step, at_ms, ...fields }) =>
    app.progress(job, step, { ...fields, at_ms: at_ms + stepMs }),
  problem: ({ kind, ...fields }) => app.problem(kind, fields),
  location: (reading) => app.location(reading),
  cancel: ({ of }) => running.get(of)?.abort(),
  hint: () => app.networkIsBack(),
  suspend: () => app.suspend(),
  resume: () => app.resume(),
  phone: ({ step_ms }) => void (stepMs += step_ms),
  shows: ({ names }) => Object.fromEntries(names.map((name) => [name, shows[name]()])),
  stop: () => app.stop(),
  async offered() {
    const { value } = await offers.next();
    if (value !== undefined) shown.set(value.offer, value);
    return value ?? null;
  },
};

async function answer({ id, do: name, ...fields }) {
  const giveUp = new AbortController();
  running.set(id, giveUp);
  try {
    say({ id, gives: (await commands[name](fields, giveUp.signal)) ?? null });
  } catch (error) {
    say({ id, fails: { name: error.name, message: error.message } });
  }
  running.delete(id);
}

app.start();
for await (const line of lines) {
  const command = JSON.parse(line);
  if ("token" in command) giveToken(command.token);
  else void answer(command);
}
await app.stop();
