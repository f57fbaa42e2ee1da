/**
 * Event streams that resume by themselves.
 *
 * A stream ends often: its node is replaced, its token expires, a proxy cuts it. The iterator yields
 * every event at least once, in order, as one endless stream (a job's ends with the job). The token
 * is in a header: an `EventSource` would need it in the address.
 */

import { boundedS, FullJitter } from "../backoff.js";
import type { EventMessage, Job } from "../contract.js";
import { ENDS } from "../contract.js";
import { ApiProblem, BadAnswer, CallFailed } from "../errors.js";
import { type Caller, mayPass, query } from "./request.js";
import { EventParser } from "./sse.js";

const FIRST_WAIT_S = 0.2;
const LONGEST_WAIT_S = 10;
// The time of three comments of the server: after it without any, the stream is broken.
const SILENT_MS = 45_000;

export interface EventOptions {
  /** The id of the last event that the program has handled; missing: from now on. */
  after?: string;
  signal?: AbortSignal;
}

/** Iterate over the events of a stream, and resume it whenever it ends. */
export async function* follow(
  caller: Caller,
  path: string,
  params: Record<string, string | undefined>,
  options: EventOptions,
  ofJob: boolean,
): AsyncGenerator<EventMessage, void> {
  const { signal } = options;
  const jitter = new FullJitter(caller.random, FIRST_WAIT_S, LONGEST_WAIT_S);
  let last = options.after;
  let ended = false;
  while (!signal?.aborted) {
    const baseUrl = caller.servers.next();
    let waitS = 0;
    let heard = false;
    try {
      const stream = await caller.stream(baseUrl + path + query(params), last, SILENT_MS, signal);
      try {
        // Events before the stream began are not a gap.
        last ??= stream.header("Last-Event-ID") ?? undefined;
        const parser = new EventParser();
        for await (const piece of stream.chunks) {
          for (const { id, data } of parser.push(piece)) {
            const event = eventOf(data);
            last = id || event.id;
            heard = true;
            jitter.reset();
            yield event;
            if (ofJob && ENDS.includes(event.type)) return;
          }
        }
      } finally {
        stream.close();
      }
      caller.servers.note(baseUrl, true);
      if (ofJob && !heard) {
        // The job had ended before the stream, which began after its last event.
        if (ended) return;
        ended = await hasEnded(caller, path);
      }
    } catch (error) {
      if (signal?.aborted) return;
      const resumes = error instanceof CallFailed && !(error instanceof BadAnswer) && mayPass(error);
      if (!resumes) throw error;
      caller.servers.note(baseUrl, error instanceof ApiProblem && error.code !== "");
      if (error instanceof ApiProblem) waitS = boundedS(error.retryAfterS);
    }
    await caller.sleep(jitter.nextS() + waitS, signal).catch(() => undefined);
  }
}

async function hasEnded(caller: Caller, path: string): Promise<boolean> {
  const job = await caller.call<Job>("GET", path.replace(/\/events$/, ""));
  return job.terminal;
}

function eventOf(data: string): EventMessage {
  let event: unknown;
  try {
    event = JSON.parse(data);
  } catch {
    // Thrown below.
  }
  const { id, type, sequence } = (event ?? {}) as Record<string, unknown>;
  if (typeof id !== "string" || typeof type !== "string" || typeof sequence !== "number") {
    throw new BadAnswer("an event that is not the engine's");
  }
  return event as EventMessage;
}
