/** The events of a driver client, besides the engine's messages. */

import type {
  Barred,
  DrainMessage,
  ErrorMessage,
  PaceMessage,
  ReplyMessage,
  Step,
  WelcomeMessage,
  Wish,
} from "../contract.js";
import type { RequestRefused, Stopped } from "../errors.js";
import type { QueuedReport } from "./reporting/reports.js";
import type { HeldJob, Push } from "./view.js";

/** A connection is being opened; `attempt` counts from 1 since the last welcome. */
export interface Connecting {
  type: "connecting";
  url: string;
  attempt: number;
}

/** A connection is open and welcomed; `over`: a socket, or HTTP while no socket works. */
export interface Connected {
  type: "connected";
  url: string;
  session: string;
  over: Transport;
}

/**
 * A connection ended, or could not be opened; the client retries by itself. `code`: the close code
 * (1006 for a lost link); `httpStatus`: that of a refused handshake, where the platform reports it.
 */
export interface Disconnected {
  type: "disconnected";
  reason: string;
  reconnectingInS: number;
  code?: number;
  httpStatus?: number;
}

/** The last event: the client has stopped for good, or until `start`. */
export interface Ended {
  type: "ended";
  reason: Stopped;
}

/** The token expires and the provider has no other; the client asks again after a pause. */
export interface TokenTrouble {
  type: "token_trouble";
  reason: string;
}

/** The driver's shown state, or the reason why it gets no offers, has changed. */
export interface DriverChanged {
  type: "driver_changed";
  state: string;
  barred: Barred | null;
}

/** The jobs that the driver holds, or their states, have changed. */
export interface JobsChanged {
  type: "jobs_changed";
  jobs: readonly HeldJob[];
}

/** The steps that wait for the engine have changed. */
export interface QueueChanged {
  type: "queue_changed";
  reports: readonly QueuedReport[];
}

/** The engine took a report (`reply`) or refused it for good (`refusal`). */
export interface ReportSettled {
  type: "report_settled";
  job: string;
  attempt: number;
  step: Step;
  reply?: ReplyMessage;
  refusal?: RequestRefused;
}

/** The client repeated the wanted status after an absence, and the engine refused it. */
export interface WishRefused {
  type: "wish_refused";
  wish: Wish;
  refusal: RequestRefused;
}

/** What a connection runs over. */
export type Transport = "socket" | "http";

export type DriverEvent =
  | Connecting
  | Connected
  | Disconnected
  | Ended
  | TokenTrouble
  | DriverChanged
  | JobsChanged
  | QueueChanged
  | ReportSettled
  | WishRefused
  | WelcomeMessage
  | Push
  | ErrorMessage
  | DrainMessage
  | PaceMessage;
