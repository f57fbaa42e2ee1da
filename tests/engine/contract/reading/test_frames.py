"""The frame readers' guarantees: cost, tolerance, error texts."""

import contextlib
import json
import sys
import tracemalloc
from typing import Any

import msgpack
import pytest

from load_tests.attacks.payloads import HostileFrame, hostile_frames
from mallard_engine.contract.reading.frames import (
    JSON,
    MSGPACK,
    BadMessage,
    BadToken,
    Dropped,
    FrameReader,
    FrameTooBig,
    for_subprotocol,
)
from mallard_protocol.codec import FrameError, UndecodableFrame
from mallard_protocol.codes import MAX_CONTAINERS, MAX_FRAME_BYTES, SUBPROTOCOLS
from mallard_protocol.lifecycle import Step, Wish
from mallard_protocol.messages import (
    Accept,
    Decline,
    Hello,
    Location,
    OfferAck,
    Pong,
    Progress,
    Status,
)

BOTH = pytest.mark.parametrize("reader", [MSGPACK, JSON], ids=SUBPROTOCOLS)
FIX = (1_763_827_200_000, 33.3062, -111.8989, 4.5, None, None)


def frame(reader: FrameReader, value: Any) -> bytes | str:
    packed: bytes = msgpack.packb(value) if reader.codec.binary else b""
    return packed if reader.codec.binary else json.dumps(value, separators=(",", ":"))


@BOTH
@pytest.mark.parametrize(
    "message", [Location((FIX, FIX)), Pong(), OfferAck("of_1"), Accept(1, "of_1")]
)
def test_frequent_messages_take_the_fast_path(
    reader: FrameReader, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    canonical = reader.codec.encode(message)
    fields = json.loads(JSON.codec.encode(message))
    reordered = dict(reversed(fields.items()))
    other = frame(reader, reordered)
    monkeypatch.setattr(reader, "_parse", None)
    assert reader.read(canonical) == (message, 0)
    assert reader.read(other) == (message, 0)


@pytest.mark.finding("A6")
@BOTH
@pytest.mark.parametrize(
    "message",
    [
        Location((FIX, FIX)),
        Progress(7, "job_phoenix.01J", 2, Step.DELIVERED, at_ms=1_763_827_200_000),
        Status(2, Wish.AVAILABLE, until_ms=1_763_827_200_000),
    ],
)
def test_key_order_and_number_width_take_the_fast_path(
    reader: FrameReader, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = dict(reversed(json.loads(JSON.codec.encode(message)).items()))
    wide = (
        msgpack.packb(fields, use_single_float=True)
        .replace(b"\xcf", b"\xd3")  # as a signed integer
        .replace(b"\xa2id\x07", b"\xa2id\xd3" + bytes(7) + b"\x07")
    )
    monkeypatch.setattr(reader, "_parse", None)
    read, dropped = reader.read(wide if reader.codec.binary else json.dumps(fields, indent=1))
    assert (type(read), dropped) == (type(message), 0)


@BOTH
def test_additional_key_is_never_overlooked(reader: FrameReader) -> None:
    unknown: tuple[Any, ...] = (1, {"a": 1}, '"')
    for value in unknown:
        pong = {"type": "pong", "x": value}
        assert reader.read(frame(reader, pong)) == (Pong(), 0)
        twice = frame(reader, pong | {"y": 2})
        with pytest.raises(UndecodableFrame):
            reader.read(
                twice.replace(b"\xa1y", b"\xa1x")
                if isinstance(twice, bytes)
                else twice.replace('"y"', '"x"')
            )


@pytest.mark.finding("A6")
@pytest.mark.parametrize("attack", [pytest.param(a, id=a.name) for a in hostile_frames()])
def test_hostile_frame_costs_a_bounded_number_of_steps(attack: HostileFrame) -> None:
    """Calls of Python functions are counted: a busy machine cannot change their number."""
    reader = MSGPACK if isinstance(attack.frame, bytes) else JSON
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        with contextlib.suppress(FrameError):
            reader.read(attack.frame)
    finally:
        sys.setprofile(None)
    assert calls < 4 * MAX_CONTAINERS


@pytest.mark.finding("A6")
@BOTH
def test_more_lists_and_maps_than_allowed_are_a_bad_field(reader: FrameReader) -> None:
    fields = {"type": "pong", "x": [[]] * (MAX_CONTAINERS - 2)}
    assert reader.read(frame(reader, fields)) == (Pong(), 0)
    excess: tuple[list[Any], ...] = ([[]] * (MAX_CONTAINERS - 1), [{}] * (MAX_CONTAINERS - 1))
    for one_more in excess:
        with pytest.raises(BadMessage, match="lists and maps"):
            reader.read(frame(reader, {"type": "pong", "x": one_more}))
    brackets = {"type": "pong", "x": "[{" * MAX_CONTAINERS}
    assert reader.read(frame(reader, brackets)) == (Pong(), 0)


@pytest.mark.finding("C18")
@BOTH
def test_invalid_fields_of_hello_are_named(reader: FrameReader) -> None:
    hello = {"type": "hello", "token": "t", "position": {"lat": 91, "lon": 0}, "vehicle": []}
    message, dropped = reader.read(frame(reader, hello))
    assert message == Hello(token="t")
    assert isinstance(dropped, Dropped)
    assert dropped.fields == ("vehicle", "position")
    wrong_tokens: tuple[Any, ...] = (1, "", [], {"a": 1}, True, "x" * 8193)
    for wrong in wrong_tokens:
        with pytest.raises(BadToken):
            reader.read(frame(reader, {"type": "hello", "token": wrong}))


@BOTH
def test_largest_frame_is_accepted(reader: FrameReader) -> None:
    # Long enough for the size to take two bytes in MessagePack already.
    padded = {"type": "pong", "x": "y" * 1000}
    padded["x"] += "y" * (MAX_FRAME_BYTES - len(frame(reader, padded)))
    assert reader.read(frame(reader, padded)) == (Pong(), 0)
    padded["x"] += "y"
    with pytest.raises(FrameTooBig):
        reader.read(frame(reader, padded))


def test_frames_size_is_counted_in_bytes() -> None:
    text = JSON.codec.encode(Decline(1, "of_1", "🦆" * 5000))
    assert len(text) < MAX_FRAME_BYTES
    with pytest.raises(FrameTooBig):
        JSON.read(text)


@BOTH
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "hello", "token": 1}, "/token: "),
        ({"type": "progress", "id": 1, "job": "a"}, "/attempt: missing"),
        (
            {
                "type": "progress",
                "id": 1,
                "job": "a",
                "attempt": 1,
                "step": "delivered",
                "proof": {},
            },
            "/proof/kind: missing",
        ),
        ({"type": "status", "id": 1, "state": "gone"}, "/state: not one of the known values"),
    ],
)
def test_bad_field_is_named(reader: FrameReader, fields: Any, message: str) -> None:
    with pytest.raises(BadMessage) as caught:
        reader.read(frame(reader, fields))
    assert caught.value.message.startswith(message)


SECRET = "eyJhbGciOiJIUzI1NiJ9.secret"


@BOTH
@pytest.mark.parametrize(
    "fields",
    [
        {"type": SECRET},
        {"type": "auth", "id": SECRET, "token": SECRET},
        {"type": "auth", "id": 1, "token": [SECRET]},
        {"type": "status", "id": 1, "state": SECRET},
        {"type": "accept", "id": 1, "offer": f"Bearer {SECRET}"},
        {"type": "problem", "id": 1, "kind": SECRET},
        {"type": "hello", "token": SECRET * 400},
        [SECRET],
    ],
)
def test_errors_do_not_quote_the_input(reader: FrameReader, fields: Any) -> None:
    with pytest.raises(FrameError) as caught:
        reader.read(frame(reader, fields))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("head", ["dd", "df", "db", "c6"])
def test_claimed_sizes_allocate_nothing(head: str) -> None:
    bomb = bytes.fromhex("82a474797065a4706f6e67a178" + head + "fffffff0") + bytes(1000)
    tracemalloc.start()
    try:
        with pytest.raises(UndecodableFrame):
            MSGPACK.read(bomb)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_each_subprotocol_has_its_frame_type() -> None:
    for reader, other in ((MSGPACK, JSON), (JSON, MSGPACK)):
        with pytest.raises(UndecodableFrame):
            reader.read(other.codec.encode(Pong()))


def test_reader_is_found_by_subprotocol() -> None:
    assert [for_subprotocol(name) for name in SUBPROTOCOLS] == [MSGPACK, JSON]
    with pytest.raises(KeyError):
        for_subprotocol("mallard.v2.json")
