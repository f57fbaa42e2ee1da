/** The golden vectors of the driver socket, the files that the engine and the Python client use. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decode, encode } from "@msgpack/msgpack";
import { JSON_CODEC, MSGPACK, UndecodableFrame } from "../src/codec.js";
import type { ClientMessage } from "../src/contract.js";

interface Case {
  name: string;
  json: Record<string, unknown> & { type: string };
  msgpack: string;
}

function vectors(name: string): Case[] {
  const url = new URL(`../../../../tests/protocol/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8")) as Case[];
}

function bytes(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

for (const { name, json, msgpack } of vectors("client")) {
  test(`client message ${name} is encoded`, () => {
    const message = json as unknown as ClientMessage;
    assert.deepEqual(decode(MSGPACK.encode(message) as Uint8Array), decode(bytes(msgpack)));
    assert.deepEqual(decode(bytes(msgpack)), json);
    assert.deepEqual(JSON.parse(JSON_CODEC.encode(message) as string), json);
  });
}

for (const { name, json, msgpack } of vectors("server")) {
  test(`server message ${name} is decoded`, () => {
    assert.deepEqual(MSGPACK.decode(bytes(msgpack)), json);
    assert.deepEqual(JSON_CODEC.decode(JSON.stringify(json)), json);
  });

  test(`server message ${name} may grow`, () => {
    const grown: Record<string, unknown> = { ...json, new_field: { of: ["a", "later", "version"] } };
    for (const field of ["state", "why", "code", "reason"]) {
      if (field in grown) grown[field] = "new";
    }
    assert.deepEqual(MSGPACK.decode(encode(grown)), grown);
    assert.deepEqual(JSON_CODEC.decode(JSON.stringify(grown)), grown);
    assert.equal(MSGPACK.decode(encode({ ...json, type: "new" })), undefined);
    assert.equal(JSON_CODEC.decode(JSON.stringify({ ...json, type: "new" })), undefined);
  });

  test(`server message ${name} without a required field is ignored`, () => {
    for (const field of Object.keys(json)) {
      const { [field]: _left, ...rest } = json;
      const message = MSGPACK.decode(encode(rest));
      assert.ok(message === undefined || message.type === json.type, field);
    }
  });
}

test("absent fields are not sent", () => {
  const message: ClientMessage = { type: "decline", id: 1, offer: "o", reason: undefined };
  assert.deepEqual(decode(MSGPACK.encode(message) as Uint8Array), { type: "decline", id: 1, offer: "o" });
  assert.equal(JSON_CODEC.encode(message), '{"type":"decline","id":1,"offer":"o"}');
});

test("bytes that are no message are refused", () => {
  for (const hex of ["", "c0", "07", "93010203", "82a474797065", "c1", "81a474797065a470696e67c0"]) {
    assert.throws(() => MSGPACK.decode(bytes(hex)), UndecodableFrame, hex);
  }
  for (const text of ["", "7", "null", "[]", '{"type":"ping"', '{"type":"ping"}x']) {
    assert.throws(() => JSON_CODEC.decode(text), UndecodableFrame, text);
  }
  assert.throws(() => MSGPACK.decode("{}"), UndecodableFrame);
  assert.throws(() => JSON_CODEC.decode(bytes("80")), UndecodableFrame);
});
