/**
 * MessagePack, as far as the contract uses it: nil, booleans, numbers, text, arrays and maps with
 * text as keys. Anything else is refused (extensions, binary data, other keys), as the engine does.
 *
 * It has its own UTF-8, as React Native's engine has had no `TextDecoder`.
 */

const MAX_DEPTH = 64;
const TWO_32 = 0x1_0000_0000;

/** Encode a value; fields that are `undefined` are left out. Throws `TypeError` for other values. */
export function encode(value: unknown): Uint8Array {
  const writer = new Writer();
  writer.value(value, 0);
  return writer.bytes.slice(0, writer.at);
}

/** Decode one value, which must take all of the bytes. Throws `RangeError`. */
export function decode(bytes: Uint8Array): unknown {
  const reader = new Reader(bytes);
  const value = reader.value(0);
  if (reader.at !== bytes.length) throw new RangeError("bytes after the value");
  return value;
}

class Writer {
  bytes = new Uint8Array(256);
  at = 0;
  private view = new DataView(this.bytes.buffer);

  value(value: unknown, depth: number): void {
    if (depth > MAX_DEPTH) throw new TypeError("too deep");
    if (value === null) this.byte(0xc0);
    else if (typeof value === "boolean") this.byte(value ? 0xc3 : 0xc2);
    else if (typeof value === "number") this.number(value);
    else if (typeof value === "string") this.text(value);
    else if (Array.isArray(value)) {
      this.head(value.length, 0x90, 15, 0xdc);
      for (const each of value) this.value(each === undefined ? null : each, depth + 1);
    } else if (typeof value === "object") {
      const fields = Object.entries(value as object).filter(([, field]) => field !== undefined);
      this.head(fields.length, 0x80, 15, 0xde);
      for (const [name, field] of fields) {
        this.text(name);
        this.value(field, depth + 1);
      }
    } else throw new TypeError(`a ${typeof value} cannot be encoded`);
  }

  private number(value: number): void {
    if (!Number.isSafeInteger(value)) {
      this.byte(0xcb);
      const at = this.room(8);
      this.view.setFloat64(at, value);
    } else if (value >= 0) {
      if (value < 0x80) this.byte(value);
      else if (value < 0x100) this.sized(0xcc, value, 1);
      else if (value < 0x1_0000) this.sized(0xcd, value, 2);
      else if (value < TWO_32) this.sized(0xce, value, 4);
      else this.sized(0xcf, value, 8);
    } else if (value >= -0x20) this.byte(value & 0xff);
    else if (value >= -0x80) this.sized(0xd0, value, 1);
    else if (value >= -0x8000) this.sized(0xd1, value, 2);
    else if (value >= -0x8000_0000) this.sized(0xd2, value, 4);
    else this.sized(0xd3, value, 8);
  }

  private text(value: string): void {
    const units = utf8(value);
    if (units.length < 0x20) this.byte(0xa0 | units.length);
    else if (units.length < 0x100) this.sized(0xd9, units.length, 1);
    else this.head(units.length, 0, -1, 0xda);
    const at = this.room(units.length);
    this.bytes.set(units, at);
  }

  /** The head of a list: in one byte up to `most`, else with a size of two or four bytes. */
  private head(length: number, short: number, most: number, wide: number): void {
    if (length <= most) this.byte(short | length);
    else if (length < 0x1_0000) this.sized(wide, length, 2);
    else this.sized(wide + 1, length, 4);
  }

  private byte(value: number): void {
    const at = this.room(1);
    this.bytes[at] = value;
  }

  /** A type and an integer in two's complement. */
  private sized(type: number, value: number, size: 1 | 2 | 4 | 8): void {
    this.byte(type);
    const at = this.room(size);
    if (size === 8) {
      this.view.setInt32(at, Math.floor(value / TWO_32));
      this.view.setUint32(at + 4, value >>> 0);
    } else if (size === 4) this.view.setUint32(at, value);
    else if (size === 2) this.view.setUint16(at, value);
    else this.view.setUint8(at, value);
  }

  /** Make room for so many bytes, and return where they begin; `bytes` and `view` may be others. */
  private room(size: number): number {
    const { at } = this;
    this.at += size;
    if (this.at > this.bytes.length) {
      const grown = new Uint8Array(Math.max(this.at, this.bytes.length * 2));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    return at;
  }
}

class Reader {
  at = 0;
  private readonly view: DataView;

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw new RangeError("too deep");
    const type = this.unsigned(1);
    if (type < 0x80) return type;
    if (type < 0x90) return this.map(type & 0xf, depth);
    if (type < 0xa0) return this.array(type & 0xf, depth);
    if (type < 0xc0) return this.text(type & 0x1f);
    if (type >= 0xe0) return type - 0x100;
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xca:
        return this.view.getFloat32(this.take(4));
      case 0xcb:
        return this.view.getFloat64(this.take(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return this.unsigned(1 << (type - 0xcc));
      case 0xd0:
        return this.view.getInt8(this.take(1));
      case 0xd1:
        return this.view.getInt16(this.take(2));
      case 0xd2:
        return this.view.getInt32(this.take(4));
      case 0xd3:
        return this.view.getInt32(this.take(4)) * TWO_32 + this.unsigned(4);
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.text(this.unsigned(1 << (type - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.array(this.unsigned(2 << (type - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return this.map(this.unsigned(2 << (type - 0xde)), depth);
    }
    throw new RangeError("binary data, an extension, or no MessagePack");
  }

  private array(length: number, depth: number): unknown[] {
    const items: unknown[] = [];
    // Each item takes a byte at least, so a length from the wire reserves nothing.
    for (let n = 0; n < length; n += 1) items.push(this.value(depth + 1));
    return items;
  }

  private map(length: number, depth: number): Record<string, unknown> {
    const fields: [string, unknown][] = [];
    for (let n = 0; n < length; n += 1) {
      const name = this.value(MAX_DEPTH);
      if (typeof name !== "string") throw new RangeError("a key that is no text");
      fields.push([name, this.value(depth + 1)]);
    }
    // Defines properties, so that a key `__proto__` is one.
    return Object.fromEntries(fields);
  }

  private text(length: number): string {
    const start = this.take(length);
    return fromUtf8(this.bytes.subarray(start, start + length));
  }

  private unsigned(size: number): number {
    const at = this.take(size);
    if (size === 1) return this.view.getUint8(at);
    if (size === 2) return this.view.getUint16(at);
    if (size === 4) return this.view.getUint32(at);
    return this.view.getUint32(at) * TWO_32 + this.view.getUint32(at + 4);
  }

  private take(size: number): number {
    const { at } = this;
    this.at += size;
    if (this.at > this.bytes.length) throw new RangeError("truncated");
    return at;
  }
}

/** Text as UTF-8; half of a surrogate pair becomes U+FFFD, as in `TextEncoder`. */
function utf8(text: string): number[] {
  const units: number[] = [];
  for (const letter of text) {
    let point = letter.codePointAt(0) ?? 0;
    if (point >= 0xd800 && point < 0xe000) point = 0xfffd;
    if (point < 0x80) units.push(point);
    else if (point < 0x800) units.push(0xc0 | (point >> 6), continued(point));
    else if (point < 0x1_0000) {
      units.push(0xe0 | (point >> 12), continued(point >> 6), continued(point));
    } else {
      units.push(0xf0 | (point >> 18), continued(point >> 12), continued(point >> 6), continued(point));
    }
  }
  return units;
}

function continued(point: number): number {
  return 0x80 | (point & 0x3f);
}

/** Throws `RangeError` for what is no UTF-8: too long a form, half of a pair, a lone byte. */
function fromUtf8(units: Uint8Array): string {
  let text = "";
  for (let at = 0; at < units.length; ) {
    const first = units[at++] ?? 0;
    const more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    let point = first & (more ? 0x3f >> more : 0x7f);
    for (let n = 0; n < more; n += 1) {
      const unit = units[at++] ?? 0;
      if ((unit & 0xc0) !== 0x80) throw new RangeError("no UTF-8");
      point = (point << 6) | (unit & 0x3f);
    }
    const least = [0, 0x80, 0x800, 0x1_0000][more] ?? 0;
    const isLead = first < 0x80 || (first >= 0xc2 && first < 0xf5);
    if (!isLead || point < least || point > 0x10_ffff || (point >= 0xd800 && point < 0xe000)) {
      throw new RangeError("no UTF-8");
    }
    text += String.fromCodePoint(point);
  }
  return text;
}
