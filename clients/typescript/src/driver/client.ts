/**
 * The client of a driver app: `DriverClient`.
 *
 *     const app = new DriverClient("wss://engine.example", fetchToken, {
 *       vehicle: { kind: "car", max_jobs: 3 },
 *       storage: new WebStorage(),
 *     });
 *     app.start();
 *     navigator.geolocation.watchPosition((position) => app.position(position));
 *     await app.status("available");
 *     for await (const offer of app.offers()) {
 *       await app.accept(offer); // its jobs are in app.jobs
 *     }
 *
 * Keep reading offers while the driver is on the way: an offer can add jobs to a run.
 *
 * It stays connected: it reconnects as the close codes advise, reports the held jobs and sends the
 * buffered fixes and reports. Times that you pass are by the device's clock; the client converts them
 * to the server's, even if the device's clock is set meanwhile. Times inside messages are the
 * server's: `secondsLeft` says how long an offer can still be answered.
 */

import type {
  App,
  Barred,
  Device,
  OfferMessage,
  ProblemMessage,
  Proof,
  ReplyMessage,
  Step,
  UploadedProof,
  Vehicle,
  Wish,
} from "../contract.js";
import { SUBPROTOCOL_MSGPACK } from "../contract.js";
import { Stopped } from "../errors.js";
import { Caller as HttpCaller } from "../http/request.js";
import type { Now } from "./clock.js";
import type { DriverCore } from "./core.js";
import type { DriverEvent, Transport } from "./events.js";
import type { Reading } from "./reporting/fixes.js";
import { overHttp } from "./connection/http_transport.js";
import { type Liveness, LIVENESS } from "./connection/link.js";
import { BACKOFF, type Backoff } from "./connection/reconnect.js";
import type { QueuedReport } from "./reporting/reports.js";
import { Shell, type TokenProvider } from "./shell.js";
import type { Storage } from "./storage.js";
import { httpUrl, overWebSocket, socketUrl } from "./connection/transport.js";
import type { HeldJob } from "./view.js";

export interface DriverOptions {
  vehicle?: Vehicle;
  app?: App;
  /** Where the operator's push service can wake the app. */
  device?: Device;
  /** `mallard.v1.msgpack` (the default) or `mallard.v1.json`. */
  subprotocol?: string;
  /** Whether every offer is acknowledged as it comes in; else call `acknowledge`. */
  autoAcknowledge?: boolean;
  /** Replaces the server's advice on how often to send fixes. */
  locationEveryMs?: number;
  /** How many fixes are kept while offline. */
  fixLimit?: number;
  requestTimeoutS?: number;
  /** Keeps what must outlive the app: the wanted status and the unanswered reports. */
  storage?: Storage;
  backoff?: Partial<Backoff>;
  liveness?: Partial<Liveness>;
  /** After so many seconds without a socket, HTTP stands in for it; null: only while suspended. */
  httpAfterS?: number | null;
  /** A WebSocket class, where the platform has none (Node 20: that of the package `ws`). */
  webSocket?: unknown;
  /** What `fetch` is; for the HTTP fallback and the upload of proofs. */
  fetch?: typeof fetch;
  /** Whether to listen to the browser's `online` and `visibilitychange`; by default where it can. */
  watchNetwork?: boolean;
  /** Called with failures that have no caller, such as those of a listener or of the storage. */
  onError?: (error: unknown) => void;
  /** The sources of randomness and time; tests replace them. */
  random?: () => number;
  now?: () => Now;
}

/** What belongs to a step besides its name. `at_ms`: by the device's clock; missing: now. */
export interface StepFields {
  attempt?: number;
  at_ms?: number;
  proof?: Proof;
  reason?: string;
  store?: string;
  parcels?: number;
  jobs?: string[];
}

/** A call that the app may give up; its answer still counts. */
export interface CallOptions {
  signal?: AbortSignal;
}

type Events = DriverEvent["type"];
type EventOf<T extends Events> = Extract<DriverEvent, { type: T }>;

const UPLOAD_WITHIN_S = 60;

/** One driver's app. `url`: the engine's, or several that are tried in turn. */
export class DriverClient {
  private readonly shell: Shell;
  private readonly core: DriverCore;
  private readonly urls: readonly string[];
  private readonly fetch: typeof fetch;
  private readonly now: () => Now;

  constructor(
    url: string | readonly string[],
    private readonly token: string | TokenProvider,
    options: DriverOptions = {},
  ) {
    this.urls = (typeof url === "string" ? [url] : url).map(socketUrl);
    if (!this.urls.length) throw new TypeError("an engine's address is needed");
    this.now = options.now ?? platformNow;
    this.fetch = options.fetch ?? ((...request) => globalThis.fetch(...request));
    this.shell = new Shell(
      {
        connectors: { socket: overWebSocket(options.webSocket), http: overHttp(this.fetch) },
        provider: typeof token === "string" ? undefined : token,
        storage: options.storage,
        now: this.now,
        onError: options.onError ?? ((error) => console.error("mallard:", error)),
        watchNetwork: options.watchNetwork,
      },
      {
        urls: this.urls,
        token: typeof token === "string" ? token : undefined,
        subprotocol: options.subprotocol ?? SUBPROTOCOL_MSGPACK,
        vehicle: options.vehicle,
        app: options.app,
        device: options.device,
        autoAcknowledge: options.autoAcknowledge ?? true,
        locationEveryMs: options.locationEveryMs,
        fixLimit: options.fixLimit ?? 1_000,
        requestTimeoutS: options.requestTimeoutS ?? 10,
        backoff: { ...BACKOFF, ...options.backoff },
        liveness: { ...LIVENESS, ...options.liveness },
        httpAfterS: options.httpAfterS === undefined ? 20 : options.httpAfterS,
        random: options.random ?? Math.random,
      },
    );
    this.core = this.shell.core;
  }

  /** Whether a connection is open and welcomed. */
  get connected(): boolean {
    return this.core.connection.connected;
  }

  /** What the open connection runs over; undefined without one. */
  get over(): Transport | undefined {
    return this.core.connection.over;
  }

  /** Seconds until the next try to connect; undefined while connected, connecting or stopped. */
  get reconnectingInS(): number | undefined {
    this.core.clock.set(this.now());
    return this.core.connection.reconnectingInS;
  }

  /** Why the client does not run; undefined while it does. */
  get stopped(): Stopped | undefined {
    return this.core.connection.stopped;
  }

  /** The address of the open connection, or of the last one. */
  get url(): string {
    return this.core.connection.url;
  }

  /** The driver's state in the engine's last message. */
  get state(): string {
    return this.core.session.view.state;
  }

  /** Why the driver gets no offers although it wants them, and until when. */
  get barred(): Barred | null {
    const { barred } = this.core.session.view;
    const until = barred?.until_ms;
    return until != null && this.serverNowMs() >= until ? null : barred;
  }

  /** The offer that can be answered now. */
  get offer(): OfferMessage | null {
    const { offer } = this.core.session.view;
    return offer !== null && this.secondsLeft(offer) > 0 ? offer : null;
  }

  /** The jobs that the driver holds, by id. */
  get jobs(): ReadonlyMap<string, HeldJob> {
    return this.core.session.view.jobs;
  }

  /** The wanted status, once the engine has taken it. */
  get wish(): Wish | undefined {
    return this.core.session.intent?.wish;
  }

  /** The interval at which to call `location` (ms), which a `pace` event changes. */
  get locationMs(): number {
    return this.core.session.locationMs;
  }

  /** The steps that the engine has not answered yet, oldest first. */
  get queued(): readonly QueuedReport[] {
    return this.core.session.queued;
  }

  /** How many steps the engine has not answered yet. */
  get unreported(): number {
    return this.core.session.reports.size;
  }

  /** How many fixes were dropped for newer ones, or were unusable. */
  get fixesDropped(): number {
    return this.core.session.fixes.dropped;
  }

  /** How many fixes wait to be sent. */
  get fixesWaiting(): number {
    return this.core.session.fixes.size;
  }

  /** The server's clock, by the last known offset. */
  serverNowMs(): number {
    this.core.clock.set(this.now());
    return this.core.clock.serverNowMs;
  }

  /** How long an offer can still be answered, whatever the device's clock shows; 0: it cannot. */
  secondsLeft(offer: OfferMessage): number {
    const nowMs = this.serverNowMs();
    return this.core.session.isLive(offer) ? Math.max(0, offer.expires_ms - nowMs) / 1000 : 0;
  }

  /** Connect, and stay connected until `stop`; what was kept before is sent. */
  start(): void {
    this.shell.start();
  }

  /** Disconnect; fixes and reports are kept for a later `start`. Ends when what is kept is saved. */
  stop(): Promise<void> {
    const why = new Stopped("stopped by the app", undefined, true);
    return this.shell.stop(() => this.core.stop(this.now(), why));
  }

  /** Wait until a connection is open and welcomed. Rejects with `Stopped`. */
  async online(): Promise<void> {
    await this.shell.loaded;
    while (!this.connected) {
      if (this.stopped !== undefined) throw this.stopped;
      await this.shell.turn();
    }
  }

  /** Report that the network came back or changed, or that the app woke up. */
  networkIsBack(): void {
    this.shell.do(this.core.networkIsBack(this.now()));
  }

  /** Cut the connection, as a device that loses its network does; reconnect in `awayS`. */
  drop(awayS?: number): void {
    this.shell.do(this.core.cut(this.now(), awayS));
  }

  /**
   * Use HTTP while the platform suspends sockets (a background task of a phone), until `resume`. The
   * same calls work: they are sent one by one, and the state is polled every few seconds.
   */
  suspend(): void {
    this.shell.do(this.core.suspend(this.now(), true));
  }

  /** Use a socket again. */
  resume(): void {
    this.shell.do(this.core.suspend(this.now(), false));
  }

  /**
   * Call `listener` with every event of these types (none: all), in order. Returns a function that
   * unsubscribes. What a listener throws goes to `onError`.
   */
  on<T extends Events>(types: T | T[], listener: (event: EventOf<T>) => void): () => void {
    const wanted = Array.isArray(types) ? types : [types];
    return this.shell.listen(wanted, listener as (event: DriverEvent) => void);
  }

  /** Call `listener` with every event, in order; see `on`. */
  onEvent(listener: (event: DriverEvent) => void): () => void {
    return this.shell.listen([], listener);
  }

  /**
   * Iterate over the offers that can still be answered. For one consumer. Ends when the client is
   * stopped; throws `Stopped` if the engine forbids reconnecting.
   */
  async *offers(): AsyncGenerator<OfferMessage, void> {
    await this.shell.loaded;
    while (true) {
      const offer = this.shell.takeOffer();
      if (offer !== undefined) {
        if (this.secondsLeft(offer) > 0) yield offer;
      } else if (this.stopped !== undefined) {
        if (this.stopped.byApp) return;
        throw this.stopped;
      } else {
        await this.shell.turn();
      }
    }
  }

  /**
   * Report a position; sent in batches, kept while offline. Returns false, and drops the position, for
   * invalid coordinates and for a reading that the platform had cached.
   */
  location(reading: Reading): boolean {
    const { kept, actions } = this.core.location(this.now(), reading);
    this.shell.do(actions);
    return kept;
  }

  /** Report a position of the browser's Geolocation API. */
  position({ coords, timestamp }: Pick<GeolocationPosition, "coords" | "timestamp">): boolean {
    return this.location({
      lat: coords.latitude,
      lon: coords.longitude,
      acc_m: coords.accuracy,
      heading_deg: coords.heading,
      speed_mps: coords.speed,
      at_ms: timestamp,
    });
  }

  /**
   * Set the status that the driver wants, and until when; sent after all fixes so far. The client
   * repeats it whenever the engine has forgotten it. A newer status replaces one that is unanswered.
   * Rejects with `RequestRefused`, `NoAnswer` (also when it was replaced), `Stopped`.
   */
  async status(wish: Wish, options: { until_ms?: number } & CallOptions = {}): Promise<ReplyMessage> {
    const { until_ms, signal } = options;
    const answer = await this.shell.callStarted(signal, (call) =>
      this.core.status(this.now(), call, wish, until_ms),
    );
    return answer.reply;
  }

  /** Acknowledge that an offer is on the screen. */
  acknowledge(offer: OfferMessage): void {
    this.shell.do(this.core.acknowledge(this.now(), offer));
  }

  /**
   * Take an offer; return its jobs in full. Repeated on the next connection if this one ends. An answer
   * that arrives after the call has failed still takes effect: the jobs are then in `jobs`. Rejects with
   * `RequestRefused` (`offer_closed`: it was too late), `NoAnswer`, `Stopped`.
   */
  async accept(offer: Pick<OfferMessage, "offer">, options: CallOptions = {}): Promise<readonly HeldJob[]> {
    const answer = await this.shell.callStarted(options.signal, (call) =>
      this.core.accept(this.now(), call, offer.offer),
    );
    return answer.jobs;
  }

  /** Refuse an offer. Rejects as `accept`. */
  async decline(offer: Pick<OfferMessage, "offer">, reason?: string, options: CallOptions = {}): Promise<void> {
    await this.shell.callStarted(options.signal, (call) =>
      this.core.decline(this.now(), call, offer.offer, reason),
    );
  }

  /**
   * Report a step; queued in order, saved, and repeated until the engine has answered. The promise
   * may be left alone. It rejects with `RequestRefused`, or `Stopped` when the report is kept for a
   * later `start`. Throws `RangeError` for a job that was never held, and `QueueFull`; while an
   * asynchronous storage is still being read, it rejects with these instead.
   */
  progress(job: string, step: Step, fields: StepFields = {}): Promise<ReplyMessage> {
    const answer = this.shell.callLoaded((call) =>
      this.core.progress(this.now(), call, { ...fields, job, step }),
    );
    const reply = answer.then((outcome) => outcome.reply);
    // A refusal without a caller that awaits it is an event already.
    reply.catch(() => undefined);
    return reply;
  }

  /** Report what a shop handed over: all, or so many parcels; 0: nothing. See `progress`. */
  collected(job: string, store: string, parcels?: number): Promise<ReplyMessage> {
    return this.progress(job, "collected", { store, parcels });
  }

  /** Report that parcels are on board; of a transfer with the other driver's code. See `progress`. */
  pickedUp(job: string, transfer: { code?: string; jobs?: string[] } = {}): Promise<ReplyMessage> {
    return this.progress(job, "picked_up", { proof: codeProof(transfer.code), jobs: transfer.jobs });
  }

  /** Report that the parcels are back, with the place's code or a photo. See `progress`. */
  returned(job: string, proof: { code?: string; photo?: string } = {}): Promise<ReplyMessage> {
    const photo: Proof | undefined =
      proof.photo === undefined ? undefined : { kind: "photo", value: proof.photo };
    return this.progress(job, "returned", { proof: codeProof(proof.code) ?? photo });
  }

  /** Report that something is wrong; times by the device's clock. Rejects as `status`. */
  async problem(
    kind: ProblemMessage["kind"],
    fields: Omit<ProblemMessage, "type" | "id" | "kind"> = {},
    options: CallOptions = {},
  ): Promise<ReplyMessage> {
    const answer = await this.shell.callStarted(options.signal, (call) =>
      this.core.problem(this.now(), call, { ...fields, kind }),
    );
    return answer.reply;
  }

  /**
   * Upload a photo or signature (JPEG, PNG or WebP, up to 2 MiB) and return its id: the value of a
   * `Proof`, or the photo of `returned`. It needs no socket. Throws as a call of `OrdersClient`.
   */
  async uploadProof(image: Blob | ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<string> {
    const token = this.shell.token ?? this.token;
    const caller = new HttpCaller(this.urls.map(httpUrl), token, { fetch: this.fetch });
    const call = { content: image, longerS: UPLOAD_WITHIN_S };
    return (await caller.call<UploadedProof>("POST", "/v1/driver/proofs", call)).proof;
  }
}

function platformNow(): Now {
  return { wallMs: Date.now(), upMs: performance.now() };
}

function codeProof(code: string | undefined): Proof | undefined {
  return code === undefined ? undefined : { kind: "code", value: code };
}
