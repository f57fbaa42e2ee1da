/** Mallard's client for driver apps, order services, shops and operators. */

export * from "./codec.js";
export * from "./contract.js";
export * from "./driver/actions.js";
export * from "./driver/client.js";
export type { Moment, Now } from "./driver/clock.js";
export type { Liveness } from "./driver/connection/link.js";
export type { Backoff } from "./driver/connection/reconnect.js";
export * from "./driver/core.js";
export type * from "./driver/events.js";
export type { Reading } from "./driver/reporting/fixes.js";
export type { QueuedReport } from "./driver/reporting/reports.js";
export type { TokenProvider } from "./driver/shell.js";
export * from "./driver/storage.js";
export type { HeldJob } from "./driver/view.js";
export * from "./errors.js";
export type { EventOptions } from "./http/events.js";
export type { ClientOptions, Tagged } from "./http/request.js";
export * from "./operator.js";
export * from "./orders.js";
export * from "./store.js";
export * from "./webhooks.js";
