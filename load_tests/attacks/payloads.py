"""Frames of at most 16 KiB that are as expensive to parse as possible."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_BYTES: Final = 16_384
_HELLO: Final = (
    b"\x83\xa4type\xa5hello\xa5token\xd0\x01\xa1x"  # the number in two bytes, not in one
)
_PONG: Final = b"\x82\xa4type\xa4pong\xa1x"
_LOCATION: Final = b"\x82\xa4type\xa8location\xa5fixes"


@dataclass(frozen=True, slots=True)
class HostileFrame:
    """The payload of one frame: bytes of MessagePack, or the text of a JSON frame."""

    name: str
    frame: bytes | str


def hostile_frames() -> Iterator[HostileFrame]:
    """Yield each kind once."""
    for name, item in _MSGPACK_ITEMS.items():
        yield HostileFrame(f"msgpack hello {name}", _array(_HELLO, item))
    yield HostileFrame("msgpack pong small maps", _array(_PONG, b"\x80"))
    yield HostileFrame("msgpack keys of one map", _many_keys())
    yield HostileFrame("msgpack fixes without number", _array(_LOCATION, b"\x90"))
    yield HostileFrame("msgpack nested claims", _PONG + b"\xdc\x3f\xff" * 5_400)
    yield HostileFrame("msgpack nested 500 deep", _PONG + b"\x91" * 500 + b"\xc0")
    yield HostileFrame("msgpack nested without end", _PONG + b"\x91" * 16_000)
    yield HostileFrame("msgpack long text", _PONG + b"\xda\x3e\x80" + b"\xc3\xa9" * 8_000)
    for name, text in _JSON_ITEMS.items():
        yield HostileFrame(f"json hello {name}", _text_array(text))
    yield HostileFrame("json keys of one map", json.dumps({f"{n:x}": 0 for n in range(1_650)}))
    yield HostileFrame("json equipment", _filled('{"type":"hello","vehicle":{"equipment":[', '"a"'))
    yield HostileFrame("json long number", f'{{"type":"accept","id":{"9" * 16_000}}}')
    yield HostileFrame("json long fraction", f'{{"type":"pong","x":0.{"1" * 16_000}}}')
    yield HostileFrame("json nested without end", '{"type":"pong","x":' + "[" * 16_000)


_MSGPACK_ITEMS: Final = {
    "small maps": b"\x80",
    "maps of one": b"\x81\xa0\x00",
    "maps of two": b"\x82\xa0\x00\xa1a\x00",
    "small lists": b"\x90",
    "nested lists": b"\x91\x91\x91\x91\x91\x90",
    "nested maps": b"\x81\xa0\x81\xa0\x81\xa0\x81\xa0\x80",
    "integers": b"\x00",
    "long integers": b"\xd3" + bytes(8),
    "whole floats": b"\xcb" + struct.pack(">d", 4.0),
    "short floats": b"\xca" + struct.pack(">f", 0.1),
    "texts": b"\xa1a",
    "long forms": b"\xdb\x00\x00\x00\x01a",
}
_JSON_ITEMS: Final = {
    "small maps": "{}",
    "maps of one": '{"":0}',
    "small lists": "[]",
    "integers": "0",
    "fractions": "0.1",
    "whole floats": "4.0",
    "powers": "1e9",
    "texts": '""',
    "escapes": '"\\u0061"',
    "surrogates": '"\\ud83e\\udd86"',
    "long numbers": "9" * 4_000,
}


def _array(head: bytes, item: bytes) -> bytes:
    count = (MAX_BYTES - len(head) - 3) // len(item)
    return head + b"\xdc" + count.to_bytes(2, "big") + item * count


def _many_keys() -> bytes:
    count = (MAX_BYTES - 64) // 4
    pairs = (b"\xa2" + bytes((97 + n // 128 % 26, n % 128)) + b"\x00" for n in range(count - 2000))
    return _PONG + b"\xde" + (count - 2000).to_bytes(2, "big") + b"".join(pairs)


def _text_array(item: str) -> str:
    return _filled('{"type":"hello","token":1,"x":[', item, "]}")


def _filled(head: str, item: str, tail: str = "]}}") -> str:
    count = (MAX_BYTES - len(head) - len(tail)) // (len(item) + 1)
    return head + ",".join([item] * count) + tail
