/**
 * Requests to the engine, and what they tell about the line to it.
 *
 * A page's token is in the session (session.ts) and goes into the `Authorization` header only.
 */

import { signal } from "@preact/signals";

const TIMEOUT_MS = 10_000;
// A misconfigured proxy must not keep a counter's reports back for a day.
const LONGEST_RETRY_AFTER_S = 60;

export interface FieldError {
  pointer: string;
  detail: string;
}

/** An answer of the engine that is an error (RFC 9457). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly errors: readonly FieldError[] = [],
    readonly retryAfterS: number | null = null,
  ) {
    super(detail);
  }

  /** Whether the same request can succeed later. */
  get isTemporary(): boolean {
    return this.status === 429 || this.status >= 500;
  }
}

/** No answer: the line or the engine is down, or it took too long. Whether the request had its effect is unknown. */
export class NoAnswer extends Error {}

/** Whether the last request was answered, and when one was last (epoch ms by this device's clock). */
export const line = signal<{ isUp: boolean; lastMs: number | null }>({ isUp: true, lastMs: null });

export interface Options {
  method?: string;
  body?: unknown;
  token?: string | null;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** Returns the JSON of an answer; null if it has no content. Throws `ApiError` and `NoAnswer`. */
export async function request<T>(path: string, options: Options = {}): Promise<T> {
  const headers: Record<string, string> = { accept: "application/json", ...options.headers };
  if (options.token) headers["authorization"] = `Bearer ${options.token}`;
  const init: RequestInit = {
    method: options.method ?? "GET",
    headers,
    // No route reads a cookie, and an answer holds personal data: neither may be kept.
    credentials: "omit",
    cache: "no-store",
    redirect: "error",
    signal: anyOf(AbortSignal.timeout(TIMEOUT_MS), options.signal),
  };
  if (options.body !== undefined) {
    headers["content-type"] = "application/json";
    init.body = JSON.stringify(options.body);
  }
  let response: Response;
  let text: string;
  try {
    response = await fetch(path, init);
    text = await response.text();
  } catch (error) {
    if (options.signal?.aborted) throw error;
    line.value = { ...line.value, isUp: false };
    throw new NoAnswer("no answer from the engine", { cause: error });
  }
  line.value = { isUp: true, lastMs: Date.now() };
  if (!response.ok) throw errorOf(response, text);
  return (text ? JSON.parse(text) : null) as T;
}

/** How long an answer asks to wait, bounded; null if it does not say. */
export function retryAfterOf(headers: Headers): number | null {
  const wait = Number(headers.get("retry-after"));
  return headers.has("retry-after") && wait >= 0 ? Math.min(wait, LONGEST_RETRY_AFTER_S) : null;
}

function errorOf(response: Response, text: string): ApiError {
  const retryAfterS = retryAfterOf(response.headers);
  try {
    const { code, detail, errors } = JSON.parse(text);
    return new ApiError(response.status, String(code), String(detail), errors ?? [], retryAfterS);
  } catch {
    // A proxy in between answers in its own way.
    return new ApiError(response.status, "unknown", `HTTP ${response.status}`, [], retryAfterS);
  }
}

function anyOf(timeout: AbortSignal, other: AbortSignal | undefined): AbortSignal {
  return other ? AbortSignal.any([timeout, other]) : timeout;
}

/** What to tell a person about a failed request. */
export function inWords(error: unknown): string {
  if (error instanceof NoAnswer) return "No answer. Check the connection and try again.";
  if (error instanceof ApiError) {
    if (error.status === 429) return "Too many requests. Wait a moment and try again.";
    if (error.errors.length > 0) return error.errors.map((it) => it.detail).join("; ");
    return sentence(error.detail);
  }
  return "Something went wrong on this page. Reload it.";
}

function sentence(text: string): string {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
