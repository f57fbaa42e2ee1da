/** The client of an operator: `OperatorClient`, an `OrdersClient` with further calls. */

import type {
  AlertList,
  AlertView,
  AuditPage,
  CloseRequest,
  DeadLetterList,
  DeadLetterView,
  DriverProfile,
  DriverView,
  Job,
  NodeView,
  PauseView,
  PolicyRequest,
  PolicyView,
  RegisteredDriver,
  Revoked,
  RevokeRequest,
  TransferRequest,
} from "./contract.js";
import { path } from "./http/request.js";
import { OrdersClient } from "./orders.js";

/** What is paused: a market, one of its malls, or a shop of that. */
export interface PausedPlace {
  mall?: string;
  store?: string;
  reason?: string;
}

/** `token`: of the role `operator`. Assignments are not repeated when an answer is lost. */
export class OperatorClient extends OrdersClient {
  /** Give a job that is not on board yet to a driver. */
  assign(job: string, driver: string): Promise<Job> {
    return this.post(path("jobs", job, "assign"), { driver }, false);
  }

  /** Take a job that is not on board yet from its driver. */
  unassign(job: string, reason: string): Promise<Job> {
    return this.post(path("jobs", job, "unassign"), { reason }, false);
  }

  /** End a job that is on board as `returned`, `delivered` or `lost`. */
  closeJob(job: string, state: CloseRequest["state"], reason: string): Promise<Job> {
    return this.post(path("jobs", job, "close"), { state, reason }, false);
  }

  /** The drivers of a market, or those within `radiusM` of `near` (lat, lon). */
  async drivers(
    market: string,
    options: { near?: readonly [number, number]; radiusM?: number; signal?: AbortSignal } = {},
  ): Promise<DriverView[]> {
    const { near, radiusM, signal } = options;
    const params = { near: near?.join(","), radius_m: radiusM };
    const call = this.caller.call<{ items: DriverView[] }>("GET", path("markets", market, "drivers"), {
      params,
      signal,
    });
    return (await call).items;
  }

  /** One driver: its entry in the register and its state. */
  driver(market: string, driver: string): Promise<RegisteredDriver> {
    return this.caller.call("GET", path("markets", market, "drivers", driver));
  }

  /** Replace a driver's entry in the register; what the profile leaves out is erased. */
  putDriver(market: string, driver: string, profile: DriverProfile): Promise<RegisteredDriver> {
    return this.caller.call("PUT", path("markets", market, "drivers", driver), { body: profile });
  }

  /**
   * Hand the parcels that a driver has on board over to another driver; return the transfer. Missing:
   * all of its jobs, the best driver who has room, the driver's last position.
   */
  transfer(market: string, driver: string, transfer: TransferRequest = {}): Promise<Job> {
    return this.post(path("markets", market, "drivers", driver, "transfer"), transfer);
  }

  /** Suspend a driver: it gets no offers. */
  suspend(market: string, driver: string, reason: string): Promise<DriverView> {
    return this.post(path("markets", market, "drivers", driver, "suspend"), { reason });
  }

  /** Resume a suspended driver. */
  resume(market: string, driver: string): Promise<DriverView> {
    return this.caller.call("POST", path("markets", market, "drivers", driver, "resume"));
  }

  /** Pause matching in a market, at a mall, or at a shop of it; offers and runs go on. */
  pause(market: string, place: PausedPlace = {}): Promise<PauseView> {
    return this.post(placePath(market, place, "pause"), { reason: place.reason });
  }

  /** End a pause. */
  unpause(market: string, place: PausedPlace = {}): Promise<PauseView> {
    return this.post(placePath(market, place, "resume"), { reason: place.reason });
  }

  /** Refuse the tokens of a subject that were issued up to now; later ones work. */
  revokeTokens(tokens: RevokeRequest): Promise<Revoked> {
    return this.post("/v1/tokens/revoke", tokens);
  }

  /** A page of alerts, newest first. */
  alerts(
    filter: { state?: "open" | "acknowledged"; market?: string; cursor?: string } = {},
  ): Promise<AlertList> {
    return this.caller.call("GET", "/v1/alerts", { params: filter });
  }

  /** Acknowledge an alert; again changes nothing. */
  acknowledge(alert: string): Promise<AlertView> {
    return this.caller.call("POST", path("alerts", alert, "acknowledge"));
  }

  /** A page of the work that was given up, newest first. */
  deadLetters(filter: { market?: string; cursor?: string } = {}): Promise<DeadLetterList> {
    return this.caller.call("GET", "/v1/dead-letters", { params: filter });
  }

  /** Try again what was given up. A second try would be 404: it is not repeated. */
  retry(letter: string): Promise<DeadLetterView> {
    return this.caller.call("POST", path("dead-letters", letter, "retry"), { repeatable: false });
  }

  /** What is set of a market's policy, and all values in force. */
  policy(market: string): Promise<PolicyView> {
    return this.caller.call("GET", path("markets", market, "policy"));
  }

  /** Replace what is set of a market's policy, if it still has this `version` (missing: any). */
  putPolicy(market: string, policy: PolicyRequest, version?: number): Promise<PolicyView> {
    return this.caller.call("PUT", path("markets", market, "policy"), {
      body: policy,
      headers: { "If-Match": version === undefined ? "*" : `"${version}"` },
    });
  }

  /** The nodes of the deployment, oldest first. */
  async nodes(): Promise<NodeView[]> {
    return (await this.caller.call<{ items: NodeView[] }>("GET", "/v1/nodes")).items;
  }

  /** Ask a node to hand its drivers over and to stop; again changes nothing. */
  drain(node: string): Promise<NodeView> {
    return this.caller.call("POST", path("nodes", node, "drain"));
  }

  /** A page of operators' calls, newest first: who did what. `since`: RFC 3339. */
  audit(
    filter: { actor?: string; since?: string; market?: string; cursor?: string } = {},
  ): Promise<AuditPage> {
    return this.caller.call("GET", "/v1/audit", { params: filter });
  }
}

function placePath(market: string, { mall, store }: PausedPlace, verb: string): string {
  const parts = ["markets", market];
  if (mall !== undefined) parts.push("malls", mall);
  if (mall !== undefined && store !== undefined) parts.push("stores", store);
  return path(...parts, verb);
}
