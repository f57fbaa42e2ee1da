/** Our MessagePack beside an independent one. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as other from "@msgpack/msgpack";
import { decode, encode } from "../src/msgpack.js";

const VALUES: unknown[] = [
  null, true, false, "", "a", "é", "🦆", "\u0800", "x".repeat(31), "x".repeat(32), "x".repeat(255),
  "x".repeat(256), "é".repeat(40_000), [], {}, [null, [[]]], { a: { b: [1, "2", 3.5] } },
  Array.from({ length: 15 }, (_, n) => n), Array.from({ length: 16 }, (_, n) => n),
  Array.from({ length: 70_000 }, () => 0),
  Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`k${n}`, n])),
  0.1, -0.5, 1e300, 5e-324, Infinity, -Infinity, NaN,
  ...[0, 1, 7, 8, 15, 16, 31, 32, 52].flatMap((bits) =>
    [-1, 0, 1].flatMap((more) => [2 ** bits + more, -(2 ** bits) + more]),
  ),
  Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 1_763_827_200_000,
];

for (const value of VALUES) {
  test(`${String(JSON.stringify(value)).slice(0, 40)} is the same to both`, () => {
    assert.deepEqual(other.decode(encode(value)), value);
    assert.deepEqual(decode(other.encode(value)), value);
    assert.deepEqual(decode(encode(value)), value);
  });
}

test("random values are the same to both", () => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * below);
  };
  const any = (depth: number): unknown => {
    const kind = random(depth > 4 ? 5 : 7);
    if (kind === 0) return null;
    if (kind === 1) return random(2) === 1;
    if (kind === 2) return Math.round((random(2 ** 30) - 2 ** 29) * 2 ** random(23));
    if (kind === 3) return (random(2 ** 30) - 2 ** 29) / 7;
    if (kind === 4) return String.fromCodePoint(...Array.from({ length: random(40) }, () => random(0xd7ff)));
    if (kind === 5) return Array.from({ length: random(20) }, () => any(depth + 1));
    return Object.fromEntries(Array.from({ length: random(20) }, (_, n) => [`${n}é`, any(depth + 1)]));
  };
  for (let n = 0; n < 300; n += 1) {
    const value = any(0);
    assert.deepEqual(other.decode(encode(value)), value);
    assert.deepEqual(decode(other.encode(value)), value);
  }
});

test("any bytes are decoded or refused, as the other one does", () => {
  let seed = 11;
  for (let n = 0; n < 20_000; n += 1) {
    const bytes = Uint8Array.from({ length: 1 + (n % 12) }, () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return (seed >> 12) & 0xff;
    });
    let value: unknown;
    try {
      value = decode(bytes);
    } catch (error) {
      assert.ok(error instanceof RangeError, String(error));
      continue;
    }
    assert.deepEqual(value, other.decode(bytes));
  }
});

test("what is no UTF-8 is refused", () => {
  for (const hex of ["a180", "a1c3", "a2c080", "a2c328", "a3eda080", "a3e08080", "a4f0808080", "a4f4908080", "a4f8808080", "a1ff", "a1f5"]) {
    assert.throws(() => decode(Buffer.from(hex, "hex")), RangeError, hex);
  }
});

test("what the contract has not is refused", () => {
  for (const hex of ["c1", "c40100", "d40100", "d6ff00000000", "810102", "8180", "c0c0", "dd", "ddffffffff", "dfffffffff", "dbffffffff"]) {
    assert.throws(() => decode(Buffer.from(hex, "hex")), RangeError, hex);
  }
  assert.throws(() => decode(new Uint8Array(20_000).fill(0x91)), RangeError);
  assert.throws(() => encode(() => 1), TypeError);
  assert.throws(() => encode(1n), TypeError);
  const ring: unknown[] = [];
  ring.push(ring);
  assert.throws(() => encode(ring), TypeError);
});

test("a key __proto__ sets no prototype", () => {
  const value = decode(other.encode(JSON.parse('{"__proto__": {"polluted": true}}'))) as object;
  assert.equal((value as { polluted?: boolean }).polluted, undefined);
});

test("half of a surrogate pair is replaced", () => {
  assert.equal(decode(encode("a\ud800b")), "a\ufffdb");
});
