/**
 * The client of a shop's counter: `StoreClient`.
 *
 *     const counter = new StoreClient(url, token, "chandler-fashion-center", "lego");
 *     for await (const pickup of counter.pickups()) await counter.ready(pickup.id);
 *     await counter.handOver(job, codeThatTheDriverShows);
 *
 * All calls may be repeated; they are, and fail, as those of an order service.
 */

import type {
  PickupReport,
  ShopHours,
  ShopPickup,
  ShopPickupList,
  ShopReturn,
  ShopReturnList,
} from "./contract.js";
import { Caller, type ClientOptions, path } from "./http/request.js";
import type { Token } from "./orders.js";

/** Which page of a list; `limit` ≤ 200. */
export interface Page {
  limit?: number;
  cursor?: string;
}

/** `token`: of the role `store` for this shop. */
export class StoreClient {
  private readonly caller: Caller;
  private readonly shop: string;

  constructor(
    baseUrl: string | readonly string[],
    token: Token,
    mall: string,
    store: string,
    options: ClientOptions = {},
  ) {
    this.caller = new Caller(baseUrl, token, options);
    this.shop = path("stores", mall, store);
  }

  /** A page of the shop's jobs, newest first. */
  pickupsPage(page: Page = {}): Promise<ShopPickupList> {
    return this.caller.call("GET", `${this.shop}/pickups`, { params: { ...page } });
  }

  /** Iterate over the shop's jobs that are open or were collected today, newest first. */
  pickups(): AsyncGenerator<ShopPickup, void> {
    return pages((page) => this.pickupsPage(page));
  }

  /** Say that the parcels of a job are ready, or when they will be. */
  ready(job: string, readyAt?: string): Promise<ShopPickup> {
    return this.report(job, { state: "ready", ready_at: readyAt });
  }

  /** Say that only so many parcels of a job are there. */
  short(job: string, parcels: number): Promise<ShopPickup> {
    return this.report(job, { state: "short", parcels });
  }

  /** Say that no parcel of a job is there. */
  missing(job: string): Promise<ShopPickup> {
    return this.report(job, { state: "missing" });
  }

  /** Hand over the parcels, or so many of them, against the code that the driver shows. */
  handOver(job: string, code: string, parcels?: number): Promise<ShopPickup> {
    return this.post(`/pickups/${encodeURIComponent(job)}/handover`, { code, parcels });
  }

  /** Close the shop until then (RFC 3339); a later call replaces an earlier one. */
  closeUntil(closedUntil: string): Promise<ShopHours> {
    return this.post("/hours", { closed_until: closedUntil });
  }

  /** Open the shop again. */
  open(): Promise<ShopHours> {
    return this.post("/hours", {});
  }

  /** A page of the jobs that come back to the shop, newest first. */
  returnsPage(page: Page = {}): Promise<ShopReturnList> {
    return this.caller.call("GET", `${this.shop}/returns`, { params: { ...page } });
  }

  /** Iterate over the jobs that come back to the shop, newest first. */
  returns(): AsyncGenerator<ShopReturn, void> {
    return pages((page) => this.returnsPage(page));
  }

  /** Say that the parcels of a job have come back: it ends as `returned`. */
  receive(job: string): Promise<ShopReturn> {
    return this.post(`/returns/${encodeURIComponent(job)}`);
  }

  private report(job: string, report: PickupReport): Promise<ShopPickup> {
    return this.post(`/pickups/${encodeURIComponent(job)}`, report);
  }

  private post<T>(path: string, body?: object): Promise<T> {
    return this.caller.call("POST", this.shop + path, { body });
  }
}

/** Iterate over the items of a list, page by page. */
export async function* pages<T>(
  list: (page: Page) => Promise<{ items: T[]; next_cursor?: string | null }>,
): AsyncGenerator<T, void> {
  let cursor: string | undefined;
  do {
    const page: Awaited<ReturnType<typeof list>> = await list({ cursor });
    yield* page.items;
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
}
