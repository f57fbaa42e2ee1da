/**
 * The client of an order service: `OrdersClient`.
 *
 *     const orders = new OrdersClient("https://engine.example", token);
 *     const job = await orders.submit({ external_id: "ORD-1183", pickup: …, dropoff: … });
 *     const ended = await orders.wait(job.id, { forEnd: true, timeoutS: 3600 });
 *
 * Calls that are safe to repeat are repeated when no answer came, when something other than the
 * engine answered, and on 429, 502, 503 and 504, for a minute at most; a submission keeps its
 * idempotency key, so all its repeats make one job. The error of a submission has its
 * `idempotencyKey`. If it is unknown whether a submission had an effect, repeat it with that key,
 * never without. Every call throws `ApiProblem` for a refusal, `Unreachable` if no engine answered and
 * `BadAnswer` if something else did; all are `CallFailed`.
 */

import { boundedS } from "./backoff.js";
import type {
  AnswerRequest,
  BatchResult,
  CancelResult,
  CustomerErased,
  Delivery,
  DeliveryList,
  DropoffRequest,
  EventMessage,
  Explanation,
  Job,
  JobList,
  JobPatch,
  JobProof,
  JobRequest,
  Market,
  NewWebhook,
  Quote,
  Replay,
  RotatedSecret,
  Tracking,
  Webhook,
  WebhookList,
  WebhookPatch,
} from "./contract.js";
import { MAX_WAIT_S } from "./contract.js";
import { ApiProblem, CallFailed } from "./errors.js";
import { type EventOptions, follow } from "./http/events.js";
import { Caller, type ClientOptions, mayPass, path, type Tagged } from "./http/request.js";

/** Which jobs to list, and how many a page (`limit` ≤ 200). Times are RFC 3339. */
export interface JobFilter {
  market?: string;
  state?: string | readonly string[];
  external_id?: string;
  created_from?: string;
  /** Itself out of the range. */
  created_to?: string;
  updated_since?: string;
  limit?: number;
}

/** How many items a page (`limit`), and after which (`cursor`: `next_cursor` of the page before). */
export interface PageOptions {
  limit?: number;
  cursor?: string;
}

/** A bearer token, or what gives it: called for each request. */
export type Token = string | (() => string | Promise<string>);

// The engine answers a wait for the end of an assigned job at once: poll this often.
const ASK_AGAIN_S = 1;
// How much longer than one call a list of them may take.
const BATCH_S = 20;
// How long an endpoint may take to answer.
const WEBHOOK_S = 10;
const WEBHOOKS = "/v1/webhooks";
const ASSIGNED = ["assigned", "at_mall", "picked_up", "returning"];

/** `token`: of the role `orders`. `baseUrl`: the engine's, or several nodes that are equal. */
export class OrdersClient {
  protected readonly caller: Caller;

  constructor(baseUrl: string | readonly string[], token: Token, options: ClientOptions = {}) {
    this.caller = new Caller(baseUrl, token, options);
  }

  /**
   * Submit a job; `key` missing: one is made. `waitS` (≤ 20) waits for a driver. Name a key of your
   * own where your program may end before the call returns.
   */
  async submit(job: JobRequest, options: { key?: string; waitS?: number } = {}): Promise<Job> {
    const { key = randomKey(), waitS } = options;
    try {
      return await this.caller.call<Job>("POST", "/v1/jobs", {
        body: job,
        headers: { "Idempotency-Key": key },
        params: { wait_s: waitS },
        longerS: waitS,
      });
    } catch (error) {
      if (error instanceof CallFailed) error.idempotencyKey = key;
      throw error;
    }
  }

  /** The job as it is now. */
  get(job: string, options: { waitS?: number; signal?: AbortSignal } = {}): Promise<Job> {
    const { waitS, signal } = options;
    return this.caller.call("GET", path("jobs", job), {
      params: { wait_s: waitS },
      longerS: waitS,
      signal,
    });
  }

  /** The job as it is now, with its entity tag: the condition of a `change`. */
  getTagged(job: string): Promise<Tagged<Job>> {
    return this.caller.tagged("GET", path("jobs", job));
  }

  /**
   * Change an order, all of the patch or nothing; null removes an optional field. With `ifMatch`, the
   * tag of `getTagged`, it is refused (`precondition_failed`) if anything has changed since.
   */
  change(job: string, patch: JobPatch, options: { ifMatch?: string } = {}): Promise<Job> {
    const { ifMatch } = options;
    return this.caller.call("PATCH", path("jobs", job), {
      body: patch,
      headers: { "If-Match": ifMatch },
      // A conditional one would be stale.
      repeatable: ifMatch === undefined,
    });
  }

  /** Submit up to 100 jobs by their idempotency keys; each has its own result, in order. */
  async submitMany(jobs: Readonly<Record<string, JobRequest>>): Promise<BatchResult[]> {
    const items = Object.entries(jobs).map(([key, job]) => ({ key, job }));
    const call = { body: { items }, longerS: BATCH_S };
    return (await this.caller.call<{ items: BatchResult[] }>("POST", "/v1/jobs:batch", call)).items;
  }

  /** Cancel up to 100 jobs; each has its own result, in order. */
  async cancelMany(ids: readonly string[], reason: string, note?: string): Promise<CancelResult[]> {
    const call = { body: { ids, reason, note }, longerS: BATCH_S };
    return (await this.caller.call<{ items: CancelResult[] }>("POST", "/v1/jobs:cancel", call)).items;
  }

  /** Remove what is known of a customer (`dropoff.customer_ref`) from its ended jobs. */
  eraseCustomer(ref: string): Promise<CustomerErased> {
    return this.caller.call("DELETE", path("customers", ref));
  }

  /**
   * The job once it is assigned or has ended, or after `timeoutS`. With `forEnd` only the end counts.
   * The wait goes on while the engine is unreachable.
   */
  async wait(
    job: string,
    options: { forEnd?: boolean; timeoutS?: number; signal?: AbortSignal } = {},
  ): Promise<Job> {
    const { forEnd = false, timeoutS = 60, signal } = options;
    const untilMs = performance.now() + timeoutS * 1000;
    const leftS = (): number => Math.max(0, untilMs - performance.now()) / 1000;
    while (true) {
      const askedMs = performance.now();
      let pauseS = ASK_AGAIN_S;
      const waitS = Math.min(MAX_WAIT_S, Math.floor(leftS()));
      try {
        const seen = await this.get(job, { waitS: waitS || undefined, signal });
        const arrived = seen.terminal || (!forEnd && ASSIGNED.includes(seen.state));
        if (arrived || !leftS()) return seen;
      } catch (error) {
        if (!(error instanceof CallFailed) || !leftS() || !mayPass(error)) throw error;
        // The call has waited, but not for longer than its own time.
        if (error instanceof ApiProblem) pauseS = Math.max(pauseS, boundedS(error.retryAfterS));
      }
      if (performance.now() - askedMs < pauseS * 1000) {
        await this.caller.sleep(Math.min(pauseS, leftS()), signal);
      }
    }
  }

  /** A page of jobs, newest first. */
  page(filter: JobFilter & { cursor?: string } = {}): Promise<JobList> {
    const { state } = filter;
    const states = typeof state === "string" ? state : state?.join(",");
    return this.caller.call("GET", "/v1/jobs", { params: { ...filter, state: states } });
  }

  /** Iterate over all jobs, newest first, page by page. */
  async *jobs(filter: JobFilter = {}): AsyncGenerator<Job, void> {
    let cursor: string | undefined;
    do {
      const page: JobList = await this.page({ ...filter, cursor });
      yield* page.items;
      cursor = page.next_cursor ?? undefined;
    } while (cursor !== undefined);
  }

  /** Cancel a job; again changes nothing. One on board comes back and ends as `returned`. */
  cancel(job: string, reason: string, note?: string): Promise<Job> {
    return this.post(path("jobs", job, "cancel"), { reason, note });
  }

  /** Answer a problem of the job's driver; the same answer again changes nothing. */
  answer(job: string, problem: string, answer: AnswerRequest): Promise<Job> {
    return this.post(path("jobs", job, "problems", problem, "answer"), answer);
  }

  /** Deliver the parcels of a returned job after all; again gives the same job. */
  redeliver(job: string, deadline: string, dropoff?: DropoffRequest): Promise<Job> {
    return this.post(path("jobs", job, "redeliver"), { deadline, dropoff });
  }

  /** Set when a store's parcels are actually ready. */
  ready(job: string, store: string, readyAt: string): Promise<Job> {
    return this.post(path("jobs", job, "ready"), { store, ready_at: readyAt });
  }

  /** Whether a job would find a driver now; stores nothing. */
  quote(job: JobRequest): Promise<Quote> {
    return this.post("/v1/quotes", job);
  }

  /** Where a job is, as its customer sees it. */
  tracking(job: string): Promise<Tracking> {
    return this.caller.call("GET", path("jobs", job, "tracking"));
  }

  /** End the tracking of a job by its `tracking_url`, for good. */
  endTracking(job: string): Promise<void> {
    return this.caller.call("DELETE", path("jobs", job, "tracking"));
  }

  /** Where the job of a `tracking_url`, or of its token, is. */
  track(token: string): Promise<Tracking> {
    return this.caller.call("GET", path("track", token.split("/").at(-1) ?? ""));
  }

  /** The proofs of a job; the links to their images hold for 15 min. */
  async proofs(job: string): Promise<JobProof[]> {
    const list = this.caller.call<{ items: JobProof[] }>("GET", path("jobs", job, "proofs"));
    return (await list).items;
  }

  /** Why this driver: the last round and all drivers who were asked. */
  explain(job: string): Promise<Explanation> {
    return this.caller.call("GET", path("jobs", job, "explain"));
  }

  /** All markets with their malls and stores. */
  async markets(): Promise<Market[]> {
    return (await this.caller.call<{ items: Market[] }>("GET", "/v1/markets")).items;
  }

  /** One market. */
  market(market: string): Promise<Market> {
    return this.caller.call("GET", path("markets", market));
  }

  /**
   * Iterate over what happens in a market, from now on or after the event with that id.
   *
   * It never ends by itself, and resumes when a stream ends. Keep the id of the last event that you
   * have handled: an event comes at least once, so handle each `sequence` once. Throws `ApiProblem`
   * with `events_trimmed` and `oldest` if events after that one are gone. The iteration ends when
   * `signal` is aborted.
   */
  events(
    market: string,
    options: EventOptions & { types?: readonly string[] } = {},
  ): AsyncGenerator<EventMessage, void> {
    const params = { market, types: options.types?.join(",") };
    return follow(this.caller, "/v1/events", params, options, false);
  }

  /** Iterate over the events of a job, from its first one on, until it has ended. */
  jobEvents(job: string, options: EventOptions = {}): AsyncGenerator<EventMessage, void> {
    return follow(this.caller, path("jobs", job, "events"), {}, options, true);
  }

  /**
   * Have events posted to a URL; no `types`: all but `job.driver_moved`, no `markets`: all. Keep the
   * `secret` of the answer: it is shown this once.
   */
  createWebhook(url: string, options: Omit<WebhookPatch, "url" | "state"> = {}): Promise<NewWebhook> {
    // A second one would be another endpoint.
    return this.post(WEBHOOKS, { types: [], markets: [], description: "", ...options, url }, false);
  }

  /** A page of your endpoints, the oldest first; operators see all. */
  webhooksPage(page: PageOptions = {}): Promise<WebhookList> {
    return this.caller.call("GET", WEBHOOKS, { params: { ...page } });
  }

  /** An endpoint. */
  webhook(webhook: string): Promise<Webhook> {
    return this.caller.call("GET", path("webhooks", webhook));
  }

  /** Change an endpoint; what is not named stays. `enabled` ends its disabling. */
  changeWebhook(webhook: string, change: WebhookPatch): Promise<Webhook> {
    return this.caller.call("PATCH", path("webhooks", webhook), { body: change });
  }

  /** Delete an endpoint and what waits for it. */
  deleteWebhook(webhook: string): Promise<void> {
    return this.caller.call("DELETE", path("webhooks", webhook));
  }

  /** Sign with a new secret; the one before signs as well for 24 h. */
  rotateWebhook(webhook: string): Promise<RotatedSecret> {
    return this.post(path("webhooks", webhook, "rotate"), {}, false);
  }

  /** Post a `webhook.test` event now; returns how it went. */
  testWebhook(webhook: string): Promise<Delivery> {
    return this.caller.call("POST", path("webhooks", webhook, "test"), { longerS: WEBHOOK_S });
  }

  /** Post events recorded since then (RFC 3339) again, with the same ids, as far as they are kept. */
  replayWebhook(webhook: string, from: string): Promise<Replay> {
    return this.post(path("webhooks", webhook, "replay"), { from });
  }

  /** A page of the last attempts at deliveries, the newest first. */
  webhookDeliveries(webhook: string, page: PageOptions = {}): Promise<DeliveryList> {
    return this.caller.call("GET", path("webhooks", webhook, "deliveries"), { params: { ...page } });
  }

  protected post<T>(path: string, body: object, repeatable = true): Promise<T> {
    return this.caller.call("POST", path, { body, repeatable });
  }
}

/** 122 random bits; `crypto.randomUUID` needs a secure context in browsers. */
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
