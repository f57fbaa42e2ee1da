/** Executes the actions of a driver client's core: sockets, timers, storage, listeners. */

import type { OfferMessage, ReplyMessage } from "../contract.js";
import type { Action } from "./actions.js";
import type { Now } from "./clock.js";
import { type CoreOptions, DriverCore } from "./core.js";
import type { DriverEvent, Transport } from "./events.js";
import type { Storage } from "./storage.js";
import type { Connect, OpenConnection } from "./connection/transport.js";
import type { HeldJob } from "./view.js";

/** Returns the driver's token, or another one when the last has expired. */
export type TokenProvider = () => string | Promise<string>;

/** The platform around a core. */
export interface ShellOptions {
  connectors: Record<Transport, Connect>;
  provider?: TokenProvider;
  storage?: Storage;
  now: () => Now;
  onError: (error: unknown) => void;
  watchNetwork?: boolean;
}

type Events = DriverEvent["type"];

/** What settles a call of the app. */
interface Waiting {
  resolve(outcome: Outcome): void;
  reject(error: Error): void;
}

export interface Outcome {
  reply: ReplyMessage;
  jobs: readonly HeldJob[];
}

// A browser's longest timeout is 2^31 ms.
const LONGEST_TIMEOUT_MS = 2_000_000_000;
const MAX_OFFERS = 8;

export class Shell {
  readonly core: DriverCore;
  /** The token of the last connection. */
  token?: string;
  private readonly now: () => Now;
  private readonly onError: (error: unknown) => void;
  private readonly listeners = new Map<object, [Events[], (event: DriverEvent) => void]>();
  private readonly calls = new Map<number, Waiting>();
  private readonly open = new Map<number, OpenConnection>();
  private offered: OfferMessage[] = [];
  private readonly turned = new Set<() => void>();
  private lastCall = 0;
  private timer?: ReturnType<typeof setTimeout>;
  private loading?: Promise<void>;
  private isLoaded = false;
  /** From `start` until the core has started, which needs what was saved. */
  private starting?: Promise<void>;
  private unsaved?: string;
  private saving?: Promise<void>;
  private readonly todo: Action[] = [];
  private doing = false;
  private unwatch?: () => void;

  constructor(
    private readonly options: ShellOptions,
    core: CoreOptions,
  ) {
    this.now = options.now;
    this.onError = options.onError;
    this.token = core.token;
    this.core = new DriverCore(core, this.now());
  }

  /** Ends when what was saved before is loaded. */
  get loaded(): Promise<void> {
    return this.loading ?? Promise.resolve();
  }

  /** Begin: load what was saved, then connect. */
  start(): void {
    this.unwatch ??= this.watchNetwork();
    this.loading ??= this.load();
    this.starting = this.loading.then(() => {
      this.starting = undefined;
      this.do(this.core.start(this.now()));
    });
  }

  /** End; waits until what is kept is saved. */
  async stop(stop: () => Action[]): Promise<void> {
    this.unwatch?.();
    this.unwatch = undefined;
    await this.loading;
    this.do(stop());
    while (this.saving !== undefined) await this.saving;
  }

  /** Call `listener` with the events of these types (none: all). Returns a function that unsubscribes. */
  listen(types: Events[], listener: (event: DriverEvent) => void): () => void {
    const key = {};
    this.listeners.set(key, [types, listener]);
    return () => void this.listeners.delete(key);
  }

  /** Take the oldest offer that the app has not seen. */
  takeOffer(): OfferMessage | undefined {
    return this.offered.shift();
  }

  /** Wait until anything has happened. */
  turn(): Promise<void> {
    return new Promise((resolve) => this.turned.add(resolve));
  }

  /** Begin a call that a stopped core refuses: as `call`, but not before a begun `start` is complete. */
  async callStarted(
    signal: AbortSignal | undefined,
    begin: (call: number) => Action[],
  ): Promise<Outcome> {
    if (this.starting !== undefined) await this.starting;
    return this.call(signal, begin);
  }

  /** Begin a call about a job that only the saved state may know: as `call`, but after a begun load. */
  callLoaded(begin: (call: number) => Action[]): Promise<Outcome> {
    // A synchronous storage is read at once: what is kept of the call is saved before this returns.
    if (this.loading === undefined || this.isLoaded) return this.call(undefined, begin);
    return this.loading.then(() => this.call(undefined, begin));
  }

  /** Begin a call of the app; the promise settles with its outcome. */
  call(
    signal: AbortSignal | undefined,
    begin: (call: number) => Action[],
  ): Promise<Outcome> {
    this.lastCall += 1;
    const call = this.lastCall;
    // Before anything is kept: the caller gets the error.
    const actions = begin(call);
    const giveUp = (): void => this.do(this.core.giveUp(this.now(), call));
    const settled = new Promise<Outcome>((resolve, reject) => {
      this.calls.set(call, { resolve, reject });
    });
    this.do(actions);
    if (signal === undefined) return settled;
    signal.addEventListener("abort", giveUp);
    if (signal.aborted) giveUp();
    return settled.finally(() => signal.removeEventListener("abort", giveUp));
  }

  /** Execute the core's actions in order, and set the timer. */
  do(actions: readonly Action[]): void {
    this.todo.push(...actions);
    // A listener may call the client: the actions of that call come after the present ones.
    if (this.doing) return;
    this.doing = true;
    for (let action = this.todo.shift(); action !== undefined; action = this.todo.shift()) {
      try {
        this.doOne(action);
      } catch (error) {
        this.onError(error);
      }
    }
    this.doing = false;
    this.setTimer();
    const turned = [...this.turned];
    this.turned.clear();
    for (const wake of turned) wake();
  }

  private doOne(action: Action): void {
    switch (action.do) {
      case "connect":
        this.token = action.token;
        this.connect(action);
        break;
      case "send":
        this.send(action);
        break;
      case "ping":
        this.open.get(action.link)?.ping();
        break;
      case "close":
        this.open.get(action.link)?.close(action.abort);
        this.open.delete(action.link);
        break;
      case "token":
        void this.provide(action.ask);
        break;
      case "save":
        this.save(action.document);
        break;
      case "emit":
        this.emit(action.event);
        break;
      case "offer":
        this.offered = [...this.offered, action.offer].slice(-MAX_OFFERS);
        break;
      case "settle": {
        const caller = this.calls.get(action.call);
        this.calls.delete(action.call);
        if (action.error !== undefined) caller?.reject(action.error);
        else if (action.reply) caller?.resolve({ reply: action.reply, jobs: action.jobs ?? [] });
        break;
      }
    }
  }

  private send({ link, frame, fixes }: Action & { do: "send" }): void {
    const giveBack = (afterS?: number): void => {
      if (fixes !== undefined) this.do(this.core.unsent(this.now(), fixes, afterS));
    };
    if (!this.open.get(link)?.send(frame, giveBack)) giveBack();
  }

  private connect(action: Action & { do: "connect" }): void {
    const { link, over, url, subprotocol, token } = action;
    const { core } = this;
    try {
      const connection = this.options.connectors[over](url, subprotocol, token, {
        opened: (canPing) => this.do(core.opened(this.now(), link, canPing)),
        received: (frame) => this.do(core.received(this.now(), link, frame)),
        ponged: () => this.do(core.ponged(this.now(), link)),
        closed: (ending) => {
          this.open.delete(link);
          this.do(core.closed(this.now(), link, ending));
        },
      });
      this.open.set(link, connection);
    } catch (error) {
      this.onError(error);
      queueMicrotask(() => this.do(core.closed(this.now(), link, { reason: String(error) })));
    }
  }

  private async provide(ask: number): Promise<void> {
    try {
      const token = await this.options.provider?.();
      this.do(this.core.tokenGiven(this.now(), ask, token));
    } catch (error) {
      this.do(this.core.tokenFailed(this.now(), ask, `the token provider failed: ${error}`));
    }
  }

  /** Save at once if the storage is synchronous; else one document after the other, the latest last. */
  private save(document: string): void {
    this.unsaved = document;
    if (this.saving === undefined) this.saveNext();
  }

  private saveNext(): void {
    const document = this.unsaved;
    this.unsaved = undefined;
    if (document === undefined) return;
    const saving = this.options.storage?.save(document);
    if (!(saving instanceof Promise)) return;
    this.saving = saving.catch(this.onError).then(() => {
      this.saving = undefined;
      this.saveNext();
    });
  }

  private emit(event: DriverEvent): void {
    for (const [types, listener] of [...this.listeners.values()]) {
      if (types.length && !types.includes(event.type)) continue;
      try {
        const outcome: unknown = listener(event);
        if (outcome instanceof Promise) outcome.catch((error: unknown) => this.onError(error));
      } catch (error) {
        this.onError(error);
      }
    }
  }

  private setTimer(): void {
    clearTimeout(this.timer);
    const { wakeUpMs } = this.core;
    if (wakeUpMs === undefined) return;
    const waitMs = Math.min(Math.max(0, wakeUpMs - this.now().upMs), LONGEST_TIMEOUT_MS);
    this.timer = setTimeout(() => this.do(this.core.tick(this.now())), waitMs);
  }

  /** Listen for the browser's hints that the network is back, or that the page is shown again. */
  private watchNetwork(): () => void {
    const target = globalThis as Partial<Pick<Window, "addEventListener" | "removeEventListener">>;
    const page = globalThis.document as Document | undefined;
    if (this.options.watchNetwork === false || page?.addEventListener === undefined) {
      return () => undefined;
    }
    const back = (): void => this.do(this.core.networkIsBack(this.now()));
    const shown = (): void => {
      if (page.visibilityState === "visible") back();
    };
    target.addEventListener?.("online", back);
    page.addEventListener("visibilitychange", shown);
    return () => {
      target.removeEventListener?.("online", back);
      page.removeEventListener("visibilitychange", shown);
    };
  }

  private async load(): Promise<void> {
    let document: string | null | undefined;
    try {
      const loading = this.options.storage?.load();
      document = loading instanceof Promise ? await loading : loading;
    } catch (error) {
      this.onError(error);
    }
    this.isLoaded = true;
    this.do(this.core.recall(this.now(), document));
  }
}
