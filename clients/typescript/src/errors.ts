/** The errors that the clients throw. */

import type { FieldError } from "./contract.js";
import { CLOSE_CODES } from "./contract.js";

/** Any failure that a client of this package throws. */
export class ClientError extends Error {
  override readonly name: string = "ClientError";
}

/**
 * The engine answered a driver's request with `error`.
 *
 * `retry`: the same request may work later; `missing`: the kinds of proof that `proof_needed` asks
 * for; `triesLeft`: how many wrong values `wrong_code` still allows; `retryAfterS`: the `Retry-After`
 * of a refusal over HTTP.
 */
export class RequestRefused extends ClientError {
  override readonly name = "RequestRefused";

  constructor(
    readonly code: string,
    message: string,
    readonly retry: boolean,
    readonly missing: readonly string[] = [],
    readonly triesLeft?: number,
    readonly retryAfterS?: number,
  ) {
    super(message ? `${code}: ${message}` : code);
  }
}

/**
 * A request was not answered in time; it is unknown whether it had an effect. An answer that comes
 * later still updates the client's state.
 */
export class NoAnswer extends ClientError {
  override readonly name = "NoAnswer";
}

/** The app's token provider failed, or returned an unusable token. */
export class NoToken extends ClientError {
  override readonly name = "NoToken";
}

/** Too many reports are unanswered; the client accepts no more. */
export class QueueFull extends ClientError {
  override readonly name = "QueueFull";
}

/** The app gave up a call with its `AbortSignal`. The engine may have acted on it. */
export class Aborted extends ClientError {
  override readonly name = "AbortError";
}

/** The connection is over. `closeCode`: the socket's; `byApp`: the app called `stop`. */
export class Stopped extends ClientError {
  override readonly name = "Stopped";

  constructor(
    reason: string,
    readonly closeCode?: number,
    readonly byApp = false,
  ) {
    super(reason);
  }

  /** The error for a socket that the server closed with `code`. */
  static closed(code: number, reason: string): Stopped {
    const meaning = CLOSE_CODES[code]?.meaning ?? "the server said not to try again";
    return new Stopped(`closed with ${code}: ${reason || meaning}`, code);
  }
}

/** A call over HTTP failed. `idempotencyKey`: that of a submission; repeat it with this key. */
export class CallFailed extends ClientError {
  override readonly name: string = "CallFailed";
  idempotencyKey?: string;
}

/**
 * The engine refused a call: an RFC 9457 problem.
 *
 * `code` is empty when the answer is no problem document, for example a proxy's page. `errors` name
 * the fields that are wrong; `job`: the job that has a duplicate `external_id`; `oldest`: the oldest
 * event that is kept, if those asked for were trimmed.
 */
export class ApiProblem extends CallFailed {
  override readonly name = "ApiProblem";

  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly errors: readonly FieldError[] = [],
    readonly job?: string,
    readonly retryAfterS?: number,
    readonly oldest?: string,
    readonly missing: readonly string[] = [],
    readonly triesLeft?: number,
  ) {
    super(code ? `${status} ${code}: ${detail}` : `${status}: ${detail}`);
  }
}

/** The answer is not the engine's, but for example a page of a captive portal. */
export class BadAnswer extends CallFailed {
  override readonly name = "BadAnswer";
}

/** No try was answered by an engine; it is unknown whether the call had an effect. */
export class Unreachable extends CallFailed {
  override readonly name = "Unreachable";
}
