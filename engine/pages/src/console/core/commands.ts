/** What a dispatcher can do, as data, and the call of the API that does it. */

export type Command =
  | { kind: "open"; path: string }
  | { kind: "ask-assign"; job: string }
  | { kind: "ask-close"; job: string }
  | { kind: "ask-cancel"; job: string }
  | { kind: "ask-instructions"; job: string; problem: string }
  | { kind: "acknowledge"; alert: string }
  | { kind: "ready"; job: string; store: string }
  | { kind: "cancel"; job: string; reason: string; note?: string }
  | { kind: "unassign"; job: string; reason: string }
  | { kind: "assign"; job: string; driver: string }
  | { kind: "close"; job: string; state: string; reason: string }
  | { kind: "answer"; job: string; problem: string; action: string; text?: string }
  | { kind: "transfer"; market: string; driver: string; to?: string }
  | { kind: "suspend"; market: string; driver: string; reason: string }
  | { kind: "resume"; market: string; driver: string }
  | { kind: "pause"; market: string; mall?: string; store?: string; reason: string }
  | { kind: "unpause"; market: string; mall?: string; store?: string };

/** A call that changes something. */
export interface Call {
  method: "POST" | "PUT" | "DELETE";
  path: string;
  body: unknown;
  /** What to say once it is done. */
  done: string;
}

const at = encodeURIComponent;

/** Return the call of a command; null for one that only moves the page. */
export function callOf(command: Command, nowIso: string): Call | null {
  switch (command.kind) {
    case "open":
    case "ask-assign":
    case "ask-close":
    case "ask-cancel":
    case "ask-instructions":
      return null;
    case "acknowledge":
      return post(`/v1/alerts/${at(command.alert)}/acknowledge`, {}, "Acknowledged");
    case "ready":
      return post(`/v1/jobs/${at(command.job)}/ready`, { store: command.store, ready_at: nowIso }, "Marked as ready");
    case "cancel":
      return post(
        `/v1/jobs/${at(command.job)}/cancel`,
        { reason: command.reason, ...(command.note ? { note: command.note } : {}) },
        "Cancelled",
      );
    case "unassign":
      return post(`/v1/jobs/${at(command.job)}/unassign`, { reason: command.reason }, "Unassigned");
    case "assign":
      return post(`/v1/jobs/${at(command.job)}/assign`, { driver: command.driver }, `Assigned to ${command.driver}`);
    case "close":
      return post(`/v1/jobs/${at(command.job)}/close`, { state: command.state, reason: command.reason }, `Closed as ${command.state}`);
    case "answer":
      return post(
        `/v1/jobs/${at(command.job)}/problems/${at(command.problem)}/answer`,
        { action: command.action, ...(command.text ? { text: command.text } : {}) },
        "Answer sent to the driver",
      );
    case "transfer":
      return post(
        `/v1/markets/${at(command.market)}/drivers/${at(command.driver)}/transfer`,
        command.to ? { driver: command.to } : {},
        "A transfer has been started",
      );
    case "suspend":
    case "resume":
      return post(
        `/v1/markets/${at(command.market)}/drivers/${at(command.driver)}/${command.kind}`,
        command.kind === "suspend" ? { reason: command.reason } : {},
        command.kind === "suspend" ? "Suspended" : "Suspension lifted",
      );
    case "pause":
      return post(`${place(command)}/pause`, { reason: command.reason }, "Matching is paused");
    case "unpause":
      return post(`${place(command)}/resume`, {}, "Matching resumed");
  }
}

function place({ market, mall, store }: { market: string; mall?: string; store?: string }): string {
  const inMall = mall === undefined ? "" : `/malls/${at(mall)}`;
  const inStore = store === undefined ? "" : `/stores/${at(store)}`;
  return `/v1/markets/${at(market)}${inMall}${inStore}`;
}

function post(path: string, body: unknown, done: string): Call {
  return { method: "POST", path, body, done };
}
