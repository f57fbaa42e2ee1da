"""Any input raises documented errors only; other decoders read encoded messages equally."""

import contextlib
import json
import random
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mallard_engine.contract.reading import frames
from mallard_engine.contract.reading.bodies import MalformedJson, canonical_hash, parse_json_body
from mallard_engine.contract.reading.strict import Malformed, parse_json, parse_msgpack
from mallard_protocol.codec import JSON, MSGPACK, FrameError
from mallard_protocol.messages import ClientMessage
from tests.protocol.strategies import client_messages, plain_values

DEEP = 8


def decode(data: bytes | str) -> None:
    readers = (frames.MSGPACK.read, frames.JSON.read)
    for read in (*readers, MSGPACK.decode_server, JSON.decode_server):
        with contextlib.suppress(FrameError):
            read(data)


@given(st.binary(max_size=200))
@example(b"\xdd\xff\xff\xff\xff")
def test_any_bytes_decode_or_raise_frame_errors(data: bytes) -> None:
    decode(data)
    with contextlib.suppress(MalformedJson):
        parse_json_body(data)


@given(st.text(max_size=200))
def test_any_text_decodes_or_raises_frame_errors(data: str) -> None:
    decode(data)


@given(plain_values)
def test_any_value_decodes_or_raises_frame_errors(value: Any) -> None:
    for sent in (value, {"type": value}, {"type": "hello", "app": value}):
        decode(msgpack.packb(sent))
        decode(json.dumps(sent))


@given(client_messages, st.randoms(use_true_random=False), st.integers(1, 3))
def test_damaged_message_decodes_or_raises(
    message: ClientMessage, chance: random.Random, hurts: int
) -> None:
    encoded = MSGPACK.encode(message)
    assert isinstance(encoded, bytes)
    packed, text = bytearray(encoded), list(str(JSON.encode(message)))
    for _ in range(hurts):
        packed[chance.randrange(len(packed))] = chance.randrange(256)
        text[chance.randrange(len(text))] = chr(chance.randrange(128))
    decode(bytes(packed))
    decode(bytes(packed[: chance.randrange(len(packed))]))
    decode("".join(text))


@given(client_messages)
def test_encoded_message_decodes_to_itself(message: ClientMessage) -> None:
    packed, text = MSGPACK.encode(message), JSON.encode(message)
    assert frames.MSGPACK.read(packed) == (message, 0)
    assert frames.JSON.read(text) == (message, 0)
    assert msgpack.unpackb(packed, strict_map_key=True) == json.loads(text)


@given(client_messages, st.randoms(use_true_random=False))
def test_message_of_another_encoder_decodes(message: ClientMessage, chance: random.Random) -> None:
    fields = list(json.loads(JSON.encode(message)).items())
    chance.shuffle(fields)
    assert frames.MSGPACK.read(msgpack.packb(dict(fields))) == (message, 0)
    assert frames.JSON.read(json.dumps(dict(fields), indent=1)) == (message, 0)


@given(plain_values)
def test_strict_parsers_accept_library_output(value: Any) -> None:
    assert parse_msgpack(msgpack.packb(value), max_depth=DEEP * 2, max_containers=500) == value
    assert parse_json(json.dumps(value), max_depth=DEEP * 2) == value


@given(st.binary(max_size=40))
def test_strict_parser_accepts_no_more_than_the_library(data: bytes) -> None:
    try:
        value = parse_msgpack(data, max_depth=DEEP, max_containers=500)
    except Malformed:
        return
    # NaN equals nothing, so texts are compared; the codec writes whole floats as integers.
    theirs = msgpack.unpackb(data, strict_map_key=True)
    assert value == theirs or "nan" in repr(theirs)


@given(plain_values, st.randoms(use_true_random=False))
def test_equal_json_has_equal_hashes(value: Any, chance: random.Random) -> None:
    def rewritten(node: Any) -> Any:
        if isinstance(node, dict):
            items = [(name, rewritten(inner)) for name, inner in node.items()]
            chance.shuffle(items)
            return dict(items)
        if isinstance(node, list):
            return [rewritten(inner) for inner in node]
        whole = isinstance(node, int) and not isinstance(node, bool) and abs(node) <= 2**53
        return float(node) if whole else node

    ours = parse_json_body(json.dumps(value).encode())
    other = parse_json_body(json.dumps(rewritten(value), indent=2, ensure_ascii=False).encode())
    assert canonical_hash(ours) == canonical_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ("0", "null"),
        ('"1"', "1"),
        ("[1,2]", "[2,1]"),
        ("1.5", "1"),
        ("{}", "[]"),
    ],
)
def test_different_json_has_different_hashes(one: str, other: str) -> None:
    first, second = (parse_json_body(text.encode()) for text in (one, other))
    assert canonical_hash(first) != canonical_hash(second)
