/** What the console asks of the API beyond single requests: whole lists, and events. */

import { createParser } from "eventsource-parser";
import { ApiError, line, NoAnswer, retryAfterOf } from "../shared/api.ts";
import { call, session, signOut } from "../shared/session.ts";
import type { LiveEvent, Page } from "./core/types.ts";

const PAGE = "200";

/** The events after that one are no longer kept; `oldest` is the first that is. */
export class Trimmed extends ApiError {
  constructor(detail: string, readonly oldest: string) {
    super(410, "events_trimmed", detail);
  }
}

/** Returns a path with a query. */
export function at(path: string, query: Record<string, string>): string {
  return `${path}?${new URLSearchParams(query)}`;
}

/** Returns one page of a list; null: the first. */
export function readPage<T>(path: string, query: Record<string, string>, cursor: string | null, signal?: AbortSignal): Promise<Page<T>> {
  const next: Record<string, string> = cursor === null ? {} : { cursor };
  return call(at(path, { ...query, limit: PAGE, ...next }), signal ? { signal } : {});
}

/** The pages of a list, one after the other. */
export async function* pages<T>(path: string, query: Record<string, string>, signal?: AbortSignal): AsyncGenerator<T[]> {
  let cursor: string | null = null;
  do {
    const page: Page<T> = await readPage(path, query, cursor, signal);
    yield page.items;
    cursor = page.next_cursor;
  } while (cursor !== null);
}

/** Returns the items of all pages of a list. */
export async function all<T>(path: string, query: Record<string, string>, signal?: AbortSignal): Promise<T[]> {
  const items: T[] = [];
  for await (const page of pages<T>(path, query, signal)) items.push(...page);
  return items;
}

/**
 * Opens a market's events after one of them, or from now on. Resolves once the stream is open;
 * `heard` is called for all that comes, comments too. Throws `ApiError` and `NoAnswer`.
 */
export async function openEvents(
  market: string,
  after: string | null,
  signal: AbortSignal,
  heard: () => void,
): Promise<AsyncIterable<LiveEvent>> {
  const headers: Record<string, string> = {
    accept: "text/event-stream",
    authorization: `Bearer ${session.value?.token ?? ""}`,
  };
  if (after !== null) headers["last-event-id"] = after;
  let response: Response;
  try {
    response = await fetch(at("/v1/events", { market }), {
      headers,
      signal,
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    line.value = { ...line.value, isUp: false };
    throw new NoAnswer("no answer from the engine", { cause: error });
  }
  if (response.ok && response.body) return read(response.body, heard);
  if (response.status === 401) signOut("You were signed out: the token has expired or was revoked.");
  const { code, detail, oldest } = await response
    .json()
    .catch(() => ({ code: "unknown", detail: `HTTP ${response.status}` }));
  if (code === "events_trimmed" && typeof oldest === "string") throw new Trimmed(String(detail), oldest);
  throw new ApiError(response.status, String(code), String(detail), [], retryAfterOf(response.headers));
}

async function* read(body: ReadableStream<Uint8Array>, heard: () => void): AsyncIterable<LiveEvent> {
  const ready: LiveEvent[] = [];
  const parser = createParser({ onEvent: (event) => ready.push(JSON.parse(event.data)) });
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      parser.feed(decoder.decode(value, { stream: true }));
      yield* ready.splice(0);
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** Opens a market's events from the oldest one that is kept. */
export async function openKeptEvents(market: string, signal: AbortSignal): Promise<AsyncIterable<LiveEvent>> {
  try {
    // Before every event. The page comes with the engine and knows how it writes an id.
    return await openEvents(market, `evt_${market}.1-0`, signal, () => undefined);
  } catch (error) {
    if (!(error instanceof Trimmed)) throw error;
    return openEvents(market, error.oldest, signal, () => undefined);
  }
}
