/** The actions that the pure core of a driver client requests from its shell. */

import type { Frame } from "../codec.js";
import type { OfferMessage, ReplyMessage } from "../contract.js";
import type { DriverEvent, Transport } from "./events.js";
import type { LocalFix } from "./reporting/fixes.js";
import type { HeldJob } from "./view.js";

/**
 * `link` numbers the connections: the core ignores what happens on one that it has given up.
 *
 * `send`: `fixes` are those in the frame; a shell passes them to `unsent` if the engine did not take them.
 * `close`: with `abort` the connection is dead. `ping`: the shell's transport can ping by itself; it calls `ponged`. `token`: ask the provider.
 * `save`: before the call that caused it returns. `offer`: one more for `offers`. `settle`: resolve
 * or reject the app's call.
 */
export type Action =
  | { do: "connect"; link: number; over: Transport; url: string; subprotocol: string; token: string }
  | { do: "send"; link: number; frame: Frame; fixes?: readonly LocalFix[] }
  | { do: "ping"; link: number }
  | { do: "close"; link: number; abort: boolean }
  | { do: "token"; ask: number }
  | { do: "save"; document: string }
  | { do: "emit"; event: DriverEvent }
  | { do: "offer"; offer: OfferMessage }
  | { do: "settle"; call: number; reply?: ReplyMessage; jobs?: readonly HeldJob[]; error?: Error };

/** The actions of one call of the core, in order. */
export class Outbox {
  private actions: Action[] = [];

  push(action: Action): void {
    this.actions.push(action);
  }

  emit(event: DriverEvent): void {
    this.actions.push({ do: "emit", event });
  }

  take(): Action[] {
    return this.actions.splice(0);
  }
}
