// A program of the client's that another process drives, one JSON object a line, in Node (agent.node)
// and in a browser (agent.browser).
//
// The first line is the setup: {url, file, subprotocol, options} of a driver app, or {clients} of HTTP
// clients. A command is {id, do, …}; its answer {id, gives} or {id, fails: {name, message, …}} comes
// when the client's call is settled. For a token the agent writes {ask} and reads {token}, which may
// be null.

import {
  DriverClient,
  OperatorClient,
  OrdersClient,
  readWebhook,
  StoreClient,
} from "../dist/index.js";

/** Serve the lines of another process until they end. `platform`: `storage(file)`, `webSocket`. */
export async function serve(lines, say, platform) {
  const setup = JSON.parse((await lines.next()).value);
  const tokens = [];
  const ask = () =>
    new Promise((resolve, reject) => {
      tokens.push((given) => (given === null ? reject(new Error("no network")) : resolve(given)));
      say({ ask: "token" });
    });
  const app = setup.clients === undefined ? driver(setup, ask, platform) : undefined;
  const commands = app ?? callers(setup);
  const running = new Map();

  async function answer({ id, do: name, ...fields }) {
    const giveUp = new AbortController();
    running.set(id, giveUp);
    try {
      if (name === "cancel") running.get(fields.of)?.abort();
      const command = commands[name] ?? (() => undefined);
      say({ id, gives: (await command(fields, giveUp.signal)) ?? null });
    } catch (error) {
      const { message, code, status, missing, triesLeft } = error;
      say({ id, fails: { name: error.name, message, code, status, missing, triesLeft } });
    }
    running.delete(id);
  }

  for await (const line of lines) {
    const command = JSON.parse(line);
    if ("token" in command) tokens.shift()?.(command.token);
    else void answer(command);
  }
  await app?.stop();
}

function driver({ url, file, subprotocol, options }, token, platform) {
  let stepMs = 0;
  const now = () => ({ wallMs: Date.now() + stepMs, upMs: performance.now() });
  const storage = platform.storage(file);
  const webSocket = platform.webSocket;
  const defaults = { storage, now, subprotocol, webSocket, httpAfterS: null };
  const app = new DriverClient(url, token, { ...defaults, ...options });
  const offers = app.offers();
  const shown = new Map();
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
  app.start();
  return {
    accept: ({ offer }, signal) => app.accept(shown.get(offer), { signal }),
    decline: ({ offer, reason }, signal) => app.decline(shown.get(offer), reason, { signal }),
    status: ({ wish }, signal) => app.status(wish, { signal }),
    progress: ({ job, step, at_ms, ...fields }) =>
      app.progress(job, step, { ...fields, at_ms: at_ms + stepMs }),
    problem: ({ kind, ...fields }) => app.problem(kind, fields),
    upload: ({ image }) => app.uploadProof(Uint8Array.from(image)),
    location: (reading) => app.location(reading),
    hint: () => app.networkIsBack(),
    suspend: () => app.suspend(),
    resume: () => app.resume(),
    phone: ({ step_ms }) => void (stepMs += step_ms),
    shows: ({ names }) => Object.fromEntries(names.map((name) => [name, shows[name]()])),
    job: ({ job }) => app.jobs.get(job)?.detail,
    stop: () => app.stop(),
    async offered() {
      const { value } = await offers.next();
      if (value !== undefined) shown.set(value.offer, value);
      return value;
    },
  };
}

function callers({ clients }) {
  const made = {
    orders: ([url, token]) => new OrdersClient(url, token),
    operator: ([url, token]) => new OperatorClient(url, token),
    store: ([url, token, mall, store]) => new StoreClient(url, token, mall, store),
  };
  const known = Object.fromEntries(
    Object.entries(clients).map(([name, given]) => [name, made[name](given)]),
  );
  return {
    call: ({ of, name, given }) => known[of][name](...given),
    webhook: ({ body, headers, secret }) => readWebhook(body, headers, secret),
    async collect({ of, name, given, most = 100 }) {
      const items = [];
      for await (const item of known[of][name](...given)) {
        if (items.push(item) >= most) break;
      }
      return items;
    },
  };
}
