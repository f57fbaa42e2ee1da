/** How a driver client connects: over a WebSocket, or over HTTP in the place of one. */

import type { Frame } from "../../codec.js";
import { retryAfterS } from "../../http/request.js";
import type { Ending } from "./reconnect.js";

/** What a connection tells the client. After `closed` nothing follows. */
export interface ConnectionEvents {
  opened(canPing: boolean): void;
  received(frame: Frame): void;
  ponged(): void;
  closed(ending: Ending): void;
}

/** Called if the engine has not taken a frame of fixes; it wants none for `afterS`. */
export type GiveBack = (afterS?: number) => void;

/** An open connection. */
export interface OpenConnection {
  /**
   * Send a frame; return false if the connection cannot any more. `giveBack` is called if the engine
   * did not take the frame, as far as the connection learns of it.
   */
  send(frame: Frame, giveBack?: GiveBack): boolean;
  ping(): void;
  /** Close it; `abort`: it is dead, so that no goodbye would be answered. */
  close(abort: boolean): void;
}

/** Opens a connection to an engine's address (`ws`, `wss`), with a token. */
export type Connect = (
  url: string,
  subprotocol: string,
  token: string,
  events: ConnectionEvents,
) => OpenConnection;

/** What this package uses of a WebSocket. `ping` and `on`: those of the package `ws`. */
export interface WebSocketLike {
  binaryType: string;
  readonly readyState: number;
  send(data: string | Uint8Array): void;
  close(code?: number, reason?: string): void;
  addEventListener(type: "open", listener: () => void): void;
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  addEventListener(type: "error", listener: (event: unknown) => void): void;
  addEventListener(
    type: "close",
    listener: (event: { code: number; reason: string }) => void,
  ): void;
  ping?(): void;
  terminate?(): void;
  on?(type: string, listener: (request: unknown, response: unknown) => void): unknown;
}

export type WebSocketClass = new (url: string, subprotocols: string[]) => WebSocketLike;

const PATH = "/v1/driver";
const OPEN = 1;

/** Connect over the platform's WebSocket, or one of the same interface. */
export function overWebSocket(given?: unknown): Connect {
  return (url, subprotocol, _token, events) => {
    const WebSocket = (given ?? globalThis.WebSocket) as WebSocketClass | undefined;
    if (WebSocket === undefined) {
      throw new TypeError("this platform has no WebSocket: pass one as the option webSocket");
    }
    const socket = new WebSocket(url + PATH, [subprotocol]);
    socket.binaryType = "arraybuffer";
    let isOver = false;
    const over = (ending: Ending): void => {
      if (isOver) return;
      isOver = true;
      events.closed(ending);
    };
    socket.addEventListener("open", () => events.opened(typeof socket.terminate === "function"));
    socket.addEventListener("message", ({ data }) => {
      events.received(typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer));
    });
    // Each error is followed by `close`.
    socket.addEventListener("error", () => undefined);
    socket.addEventListener("close", ({ code, reason }) => {
      over({ reason: reason || "the socket ended", code });
    });
    if (typeof socket.terminate === "function" && socket.on !== undefined) {
      socket.on("pong", () => events.ponged());
      // Browsers say neither that a handshake was refused nor how.
      socket.on("unexpected-response", (request, response) => {
        over(refusalOf(response as Refused));
        (request as { destroy(): void }).destroy();
      });
    }
    return {
      send(frame) {
        if (socket.readyState !== OPEN) return false;
        socket.send(frame);
        return true;
      },
      ping: () => {
        if (socket.readyState === OPEN) socket.ping?.();
      },
      close(abort) {
        isOver = true;
        if (!abort || socket.terminate === undefined) socket.close(1000);
        // Before it is open, `ws` reports an error, which is listened to.
        else socket.terminate();
      },
    };
  };
}

interface Refused {
  statusCode: number;
  headers: Record<string, string | undefined>;
}

function refusalOf(response: Refused): Ending {
  const { statusCode, headers } = response;
  return {
    reason: `the handshake was refused with ${statusCode}`,
    httpStatus: statusCode,
    retryAfterS: retryAfterS(headers["retry-after"] ?? null, headers["date"] ?? null),
  };
}

/** The address for sockets of an engine that is named by either of its addresses. */
export function socketUrl(url: string): string {
  const [, scheme, rest] = /^(ws|http)(s?:\/\/.+?)\/*$/.exec(url) ?? [];
  if (scheme === undefined || rest === undefined) {
    throw new TypeError(`${url} is no address of an engine: wss://HOST or https://HOST`);
  }
  return `ws${rest}`;
}

/** The address for HTTP of an engine that is named by its address for sockets. */
export function httpUrl(url: string): string {
  return url.replace(/^ws/, "http");
}
