/** HTTP calls with retries, over `fetch`. */

import { FullJitter, type Random } from "../backoff.js";
import type { Problem } from "../contract.js";
import { ApiProblem, BadAnswer, CallFailed, Unreachable } from "../errors.js";
import { Servers } from "./servers.js";
import { cannotStream, silenced, streamByXhr, type Streaming, streamOf } from "./sse.js";

/** Options of all HTTP clients. */
export interface ClientOptions {
  /** How often a request is sent at most; by default 6. */
  tries?: number;
  /** How long after its start a call is repeated at most; by default 60 s. */
  withinS?: number;
  /** What `fetch` is; by default the platform's. */
  fetch?: typeof fetch;
  /** The sources of randomness and time; tests replace them. */
  random?: Random;
  sleep?: (seconds: number, signal?: AbortSignal) => Promise<void>;
}

/** What a call sends besides method and path. */
export interface Call {
  params?: Record<string, string | number | undefined>;
  headers?: Record<string, string | undefined>;
  body?: object;
  /** A body that is no JSON. */
  content?: BodyInit;
  /** Whether sending it twice has the effect of sending it once; by default true. */
  repeatable?: boolean;
  /** How much longer than usual the server may take. */
  longerS?: number;
  signal?: AbortSignal;
}

/** An answer with its entity tag, which a later call may name as its condition. */
export interface Tagged<T> {
  value: T;
  etag: string;
}

// Answers after which the same request may work later.
const LATER = [429, 502, 503, 504];
const TOO_MANY_REQUESTS = 429;
const FIRST_WAIT_S = 0.2;
const LONGEST_WAIT_S = 5;
const ANSWER_WITHIN_S = 10;
const CONNECT_WITHIN_MS = 10_000;

/**
 * Sends requests to equal servers in turn, with retries.
 *
 * Repeated are requests that failed or that something other than the engine answered (if
 * `repeatable`), and 429, 502, 503, 504: after full jitter, but not before `Retry-After`. Throws
 * `ApiProblem`, `BadAnswer`, `Unreachable`.
 */
export class Caller {
  readonly servers: Servers;
  readonly random: Random;
  readonly sleep: (seconds: number, signal?: AbortSignal) => Promise<void>;
  private readonly fetcher: typeof fetch;
  private readonly tries: number;
  private readonly withinS: number;

  constructor(
    baseUrl: string | readonly string[],
    private readonly token: string | (() => string | Promise<string>),
    options: ClientOptions = {},
  ) {
    this.servers = new Servers(typeof baseUrl === "string" ? [baseUrl] : baseUrl);
    this.fetcher = options.fetch ?? ((...request) => globalThis.fetch(...request));
    this.tries = options.tries ?? 6;
    this.withinS = options.withinS ?? 60;
    this.random = options.random ?? Math.random;
    this.sleep = options.sleep ?? sleep;
  }

  async call<T>(method: string, path: string, call: Call = {}): Promise<T> {
    return (await this.tagged<T>(method, path, call)).value;
  }

  /** As `call`, with the entity tag of the answer; empty if it has none. */
  async tagged<T>(method: string, path: string, call: Call = {}): Promise<Tagged<T>> {
    const { repeatable = true, longerS = 0, signal } = call;
    const jitter = new FullJitter(this.random, FIRST_WAIT_S, LONGEST_WAIT_S);
    const untilMs = performance.now() + (this.withinS + longerS) * 1000;
    for (let triesLeft = this.tries - 1; ; triesLeft -= 1) {
      try {
        return await this.tryOnce<T>(method, path, call);
      } catch (failure) {
        if (!(failure instanceof CallFailed) || signal?.aborted) throw failure;
        const wishS = failure instanceof ApiProblem ? (failure.retryAfterS ?? 0) : 0;
        const waitS = jitter.nextS() + wishS;
        const mayWait = performance.now() + waitS * 1000 <= untilMs;
        if (triesLeft <= 0 || !mayWait || !worthRepeating(failure, repeatable)) throw failure;
        await this.sleep(waitS, signal);
      }
    }
  }

  /**
   * Open an event stream after the event `last`. Without a byte for `silentMs` it fails. Throws
   * `ApiProblem` for any answer but 200.
   */
  async stream(url: string, last?: string, silentMs = 0, signal?: AbortSignal): Promise<Streaming> {
    const stop = new AbortController();
    const unlink = linked(signal, stop);
    try {
      const headers: Record<string, string> = {
        Accept: "text/event-stream",
        Authorization: await this.authorization(),
        ...(last !== undefined && { "Last-Event-ID": last }),
      };
      const stream = await this.opened(url, headers, stop);
      const watched = silenced(stream, silentMs, () => stop.abort());
      const close = (): void => {
        unlink();
        watched.close();
      };
      if (stream.status === 200) return { ...watched, close };
      let text = "";
      for await (const piece of watched.chunks) text += piece;
      throw problemOf(stream.status, (name) => stream.header(name), text);
    } catch (error) {
      unlink();
      throw error;
    }
  }

  private async opened(
    url: string,
    headers: Record<string, string>,
    stop: AbortController,
  ): Promise<Streaming> {
    try {
      if (cannotStream()) return await streamByXhr(url, headers, stop.signal);
      const request = { headers, signal: stop.signal, cache: "no-store" as const };
      const answer = await fetchWithin(this.fetcher, CONNECT_WITHIN_MS, url, request);
      return streamOf(answer, () => stop.abort()) ?? (await streamByXhr(url, headers, stop.signal));
    } catch (error) {
      throw new Unreachable(String(error), { cause: error });
    }
  }

  private async authorization(): Promise<string> {
    const { token } = this;
    return `Bearer ${typeof token === "string" ? token : await token()}`;
  }

  private async send(url: string, method: string, call: Call, withinMs: number): Promise<Response> {
    const { body, content = body && JSON.stringify(body), signal } = call;
    const headers: Record<string, string> = {
      Accept: "application/json",
      Authorization: await this.authorization(),
    };
    if (content !== undefined) {
      const isJson = call.content === undefined;
      headers["Content-Type"] = isJson ? "application/json" : "application/octet-stream";
    }
    for (const [name, value] of Object.entries(call.headers ?? {})) {
      if (value !== undefined) headers[name] = value;
    }
    try {
      const request = { method, headers, body: content, redirect: "error" as const, signal };
      return await fetchWithin(this.fetcher, withinMs, url, request);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Unreachable(String(error), { cause: error });
    }
  }

  private async tryOnce<T>(method: string, path: string, call: Call): Promise<Tagged<T>> {
    const baseUrl = this.servers.next();
    const withinMs = (ANSWER_WITHIN_S + (call.longerS ?? 0)) * 1000;
    const stop = new AbortController();
    const unlink = linked(call.signal, stop);
    try {
      const url = baseUrl + path + query(call.params);
      const answer = await this.send(url, method, { ...call, signal: stop.signal }, withinMs);
      const text = await textOf(answer);
      this.servers.note(baseUrl, true);
      if (!answer.ok) throw problemOf(answer.status, (name) => answer.headers.get(name), text);
      return { value: valueOf<T>(answer, text), etag: answer.headers.get("ETag") ?? "" };
    } catch (error) {
      if (error instanceof Unreachable) this.servers.note(baseUrl, false);
      throw error;
    } finally {
      unlink();
    }
  }
}

/**
 * Abort `own` with a signal, until the returned function is called. One signal may serve thousands of
 * calls, and would keep what each of them leaves on it.
 */
function linked(signal: AbortSignal | undefined, own: AbortController): () => void {
  const stop = (): void => own.abort(signal?.reason);
  if (signal?.aborted) stop();
  signal?.addEventListener("abort", stop, { once: true });
  return () => signal?.removeEventListener("abort", stop);
}

/** Fetch, with a limit for the head of the answer and for each part of what follows. */
export async function fetchWithin(
  fetcher: typeof fetch,
  withinMs: number,
  url: string,
  request: RequestInit,
): Promise<Response> {
  const limit = new AbortController();
  const stop = (): void => limit.abort(request.signal?.reason);
  request.signal?.addEventListener("abort", stop, { once: true });
  if (request.signal?.aborted) stop();
  const timer = setTimeout(() => limit.abort(new Error("no answer in time")), withinMs);
  try {
    return await fetcher(url, { ...request, signal: limit.signal });
  } finally {
    clearTimeout(timer);
  }
}

/** Whether a failure is temporary: the same request may succeed later. */
export function mayPass(failure: CallFailed): boolean {
  if (failure instanceof ApiProblem) return LATER.includes(failure.status) || !failure.code;
  return true;
}

/** The refusal that an answer is; without a code if it is a proxy's page. */
function problemOf(
  status: number,
  header: (name: string) => string | null,
  text: string,
): ApiProblem {
  const wishS = retryAfterS(header("Retry-After"), header("Date"));
  const problem = parsed(text);
  if (!isProblem(problem)) {
    return new ApiProblem(status, "", "the answer is no problem document", [], undefined, wishS);
  }
  const { code, detail, errors, job, oldest, missing, tries_left } = problem;
  return new ApiProblem(status, code, detail, errors, job, wishS, oldest, missing, tries_left);
}

export function isProblem(value: unknown): value is Problem {
  if (typeof value !== "object" || value === null) return false;
  const { code, detail, status } = value as Record<string, unknown>;
  return typeof code === "string" && typeof detail === "string" && typeof status === "number";
}

/**
 * Read a `Retry-After`: seconds, or a time, from which the answer's `Date` is subtracted. Undefined if
 * it is malformed, or a time without a `Date`: the local clock may differ.
 */
export function retryAfterS(header: string | null, date: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^[0-9]+$/.test(header)) return Number(header);
  const seconds = (Date.parse(header) - Date.parse(date ?? "")) / 1000;
  return Number.isNaN(seconds) ? undefined : Math.max(0, seconds);
}

/** The parts as a path under `/v1`. */
export function path(...parts: string[]): string {
  return `/v1/${parts.map((part) => encodeURIComponent(part).replaceAll("%3A", ":")).join("/")}`;
}

/** The query of a URL, without what is undefined. */
export function query(params: Call["params"] = {}): string {
  const given = Object.entries(params).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

function worthRepeating(failure: CallFailed, repeatable: boolean): boolean {
  // A 429 was refused before it could have an effect.
  if (failure instanceof ApiProblem && failure.status === TOO_MANY_REQUESTS) return true;
  return repeatable && mayPass(failure);
}

async function textOf(answer: Response): Promise<string> {
  try {
    return await answer.text();
  } catch (error) {
    throw new Unreachable(String(error), { cause: error });
  }
}

function valueOf<T>(answer: Response, text: string): T {
  if (answer.status === 204) return undefined as T;
  const value = parsed(text);
  if (typeof value !== "object" || value === null) {
    throw new BadAnswer(`${answer.status} with a body that is not the engine's`);
  }
  return value as T;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function sleep(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
