// Carries an order from its quote to its end on a running engine, with the types that
// openapi-typescript makes of the contract. The compiler checks each path, body and answer.
// Usage: node order-life.mjs URL TOKEN
import createClient from "openapi-fetch";
import type { components, paths } from "./client.js";

declare const process: { argv: string[] };

type Schemas = components["schemas"];
type Heard = { id: string; sequence: number; type: Schemas["EventType"]; job?: string };

const [url, token] = process.argv.slice(2);
if (!url || !token) throw new Error("usage: node order-life.mjs URL TOKEN");
const engine = createClient<paths>({
  baseUrl: url,
  headers: { Authorization: `Bearer ${token}` },
});

function check(holds: unknown, what: string): asserts holds {
  if (!holds) throw new Error(what);
}

/** What was answered, or an error that names the problem. */
function answer<T>(it: { data?: T; error?: Schemas["Problem"] }): T {
  if (it.data === undefined) throw new Error(`refused: ${JSON.stringify(it.error)}`);
  return it.data;
}

/** The events of a job until its stream ends. */
async function* eventsOf(id: string): AsyncGenerator<Heard> {
  const { data, response } = await engine.GET("/v1/jobs/{id}/events", {
    params: { path: { id } },
    parseAs: "stream",
  });
  check(response.ok && data, `no stream: ${response.status}`);
  const reader = (data as ReadableStream<Uint8Array>).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + decoder.decode(part.value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line.startsWith("data: ")) yield JSON.parse(line.slice(6)) as Heard;
    }
  }
}

const mall = "sandbox-mall";
const markets = answer(await engine.GET("/v1/markets"));
const market = markets.items.find(({ id }) => id === "sandbox");
const store = market?.malls.find(({ id }) => id === mall)?.stores[0];
check(store, "the sandbox has no shop");

const body: Schemas["JobRequest"] = {
  external_id: crypto.randomUUID(),
  pickup: { mall, stores: [{ store: store.id, parcels: 2 }] },
  dropoff: { lat: 40.805, lon: -113.845 },
  metadata: { sandbox: "declined_then_delivered" },
};
const quote = answer(await engine.POST("/v1/quotes", { body }));
check(quote.id, "a quote has an id");

const header = { "Idempotency-Key": crypto.randomUUID() };
const job = answer(await engine.POST("/v1/jobs", { params: { header }, body }));
const again = answer(await engine.POST("/v1/jobs", { params: { header }, body }));
check(again.id === job.id, "the same key makes another job");

const heard: Heard[] = [];
for await (const event of eventsOf(job.id)) heard.push(event);
const types = heard.map(({ type }) => type);
check(types[0] === "job.created", `the first event is ${types[0]}`);
check(types.at(-1) === "job.delivered", `the last event is ${types.at(-1)}`);
for (const type of ["job.queued", "job.offered", "job.assigned", "job.picked_up"] as const) {
  check(types.includes(type), `${type} was not heard`);
}
check(
  heard.every(({ sequence }, n) => n === 0 || sequence > heard[n - 1]!.sequence),
  "sequences do not rise",
);

const path = { id: job.id };
const ended = answer(await engine.GET("/v1/jobs/{id}", { params: { path } }));
check(ended.state === "delivered" && ended.terminal, `it is ${ended.state}`);
const query = { external_id: body.external_id! };
const listed = answer(await engine.GET("/v1/jobs", { params: { query } }));
check(listed.items.length === 1 && listed.items[0]?.id === job.id, "it is not listed");

const other = { ...body, external_id: crypto.randomUUID(), metadata: { sandbox: "your_driver" } };
const second = answer(
  await engine.POST("/v1/jobs", {
    params: { header: { "Idempotency-Key": crypto.randomUUID() } },
    body: other,
  }),
);
const cancelled = answer(
  await engine.POST("/v1/jobs/{id}/cancel", {
    params: { path: { id: second.id } },
    body: { reason: "customer" },
  }),
);
check(cancelled.state === "cancelled" && cancelled.cancel_reason === "customer", "not cancelled");

const wrong = await engine.POST("/v1/jobs", {
  params: { header: { "Idempotency-Key": crypto.randomUUID() } },
  body: { ...other, external_id: crypto.randomUUID(), metadata: { sandbox: "nonsense" } },
});
check(wrong.error?.status === 422, "a bad order was accepted");
check(wrong.error.errors?.[0]?.pointer === "/metadata/sandbox", "the error names another field");

console.log(`an order's life: ${types.join(" ")}`);
