/** Encodes the messages of the driver socket and decodes the server's, for each subprotocol. */

import type { ClientMessage, ServerMessage } from "./contract.js";
import { SERVER_FIELDS, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK } from "./contract.js";
import { ClientError } from "./errors.js";
import { decode, encode } from "./msgpack.js";

/** The payload of one frame: text for JSON, bytes for MessagePack. */
export type Frame = string | Uint8Array;

/** The frame is not well-formed, or no map. */
export class UndecodableFrame extends ClientError {
  override readonly name = "UndecodableFrame";
}

/** One subprotocol. Fields that are `undefined` are not sent. */
export interface Codec {
  readonly subprotocol: string;
  encode(message: ClientMessage | ServerMessage): Frame;
  /**
   * Decode a server's frame. Returns undefined for what this version does not understand: an
   * unknown type, or a known one without a field that it needs. Unknown fields and enum values are
   * passed on. Throws `UndecodableFrame`.
   */
  decode(frame: Frame): ServerMessage | undefined;
}

export const MSGPACK: Codec = {
  subprotocol: SUBPROTOCOL_MSGPACK,
  encode: (message) => encode(message),
  decode(frame) {
    if (typeof frame === "string") throw new UndecodableFrame("a text frame is no MessagePack");
    return understood(parsed(() => decode(frame)));
  },
};

export const JSON_CODEC: Codec = {
  subprotocol: SUBPROTOCOL_JSON,
  encode: (message) => JSON.stringify(message),
  decode(frame) {
    if (typeof frame !== "string") throw new UndecodableFrame("a binary frame is no JSON");
    return understood(parsed(() => JSON.parse(frame)));
  },
};

/** The codec of a subprotocol. Throws `RangeError` for any other name. */
export function codecOf(subprotocol: string): Codec {
  for (const codec of [MSGPACK, JSON_CODEC]) {
    if (codec.subprotocol === subprotocol) return codec;
  }
  throw new RangeError(`${subprotocol} is no subprotocol of the engine`);
}

function parsed(parse: () => unknown): unknown {
  try {
    return parse();
  } catch {
    throw new UndecodableFrame("malformed");
  }
}

function understood(value: unknown): ServerMessage | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UndecodableFrame("not a map");
  }
  const message = value as Record<string, unknown>;
  const fields = Object.hasOwn(SERVER_FIELDS, String(message["type"]))
    ? SERVER_FIELDS[String(message["type"])]
    : undefined;
  if (fields === undefined) return undefined;
  for (const [name, kind] of Object.entries(fields)) {
    const field = message[name];
    if (field === undefined || (kind !== "null" && (field === null || typeof field !== kind))) {
      return undefined;
    }
  }
  return message as unknown as ServerMessage;
}
