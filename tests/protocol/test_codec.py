"""The codec's own promises: what is cheap, what is tolerated, what an error says."""

import json
import tracemalloc
from typing import Any

import msgpack
import pytest

from protocol import codec
from protocol.codec import JSON, MSGPACK, BadFrame, Codec, UndecodableFrame, for_subprotocol
from protocol.codes import MAX_FRAME_BYTES, SUBPROTOCOLS
from protocol.messages import (
    Accept,
    Decline,
    Location,
    OfferAck,
    Ping,
    Pong,
    Reply,
    StateChanged,
)

BOTH = pytest.mark.parametrize("spoken", [MSGPACK, JSON], ids=SUBPROTOCOLS)
FIX = (1_763_827_200_000, 33.3062, -111.8989, 4.5, None, None)


def frame(spoken: Codec, value: Any) -> bytes | str:
    packed: bytes = msgpack.packb(value) if spoken.binary else b""
    return packed if spoken.binary else json.dumps(value, separators=(",", ":"))


@BOTH
@pytest.mark.parametrize(
    "message", [Location((FIX, FIX)), Pong(), OfferAck("of_1"), Accept(1, "of_1")]
)
def test_hot_messages_never_take_the_slow_way(
    spoken: Codec, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    canonical = spoken.encode(message)
    fields = json.loads(JSON.encode(message))
    reordered = dict(reversed(fields.items()))
    other = frame(spoken, reordered)
    monkeypatch.setattr(spoken, "_parse", None)
    assert spoken.decode_client(canonical) == (message, 0)
    assert spoken.decode_client(other) == (message, 0)


@BOTH
def test_the_largest_frame(spoken: Codec) -> None:
    # Long enough for the size to take two bytes in MessagePack already.
    padded = {"type": "pong", "x": "y" * 1000}
    padded["x"] += "y" * (MAX_FRAME_BYTES - len(frame(spoken, padded)))
    assert spoken.decode_client(frame(spoken, padded)) == (Pong(), 0)
    padded["x"] += "y"
    with pytest.raises(codec.FrameTooBig):
        spoken.decode_client(frame(spoken, padded))


def test_a_frames_size_is_counted_in_bytes() -> None:
    text = JSON.encode(Decline(1, "of_1", "🦆" * 5000))
    assert len(text) < MAX_FRAME_BYTES
    with pytest.raises(codec.FrameTooBig):
        JSON.decode_client(text)


def test_each_subprotocol_has_its_kind_of_frame() -> None:
    for spoken, other in ((MSGPACK, JSON), (JSON, MSGPACK)):
        with pytest.raises(UndecodableFrame):
            spoken.decode_client(other.encode(Pong()))
        with pytest.raises(UndecodableFrame):
            spoken.decode_server(other.encode(Ping()))


def test_codec_of_a_subprotocol() -> None:
    assert [for_subprotocol(name) for name in SUBPROTOCOLS] == [MSGPACK, JSON]
    with pytest.raises(KeyError):
        for_subprotocol("mallard.v2.json")


@BOTH
def test_clients_ignore_what_a_later_server_says(spoken: Codec) -> None:
    later = {"type": "horoscope", "seq": 1, "deep": [[[[[[[[[[[1]]]]]]]]]]]}
    assert spoken.decode_server(frame(spoken, later)) is None
    reply = {"type": "reply", "id": 1, "state": "levitating", "mood": {"level": 9}}
    assert spoken.decode_server(frame(spoken, reply)) == Reply(1, "levitating")
    changed = {"type": "state", "seq": 4, "state": "paused", "why": "full_moon"}
    assert spoken.decode_server(frame(spoken, changed)) == StateChanged(4, "paused", "full_moon")


@BOTH
def test_clients_refuse_what_no_server_says(spoken: Codec) -> None:
    with pytest.raises(BadFrame, match="/state: missing"):
        spoken.decode_server(frame(spoken, {"type": "reply", "id": 1}))
    kinds: tuple[Any, ...] = (None, 7, [], {})
    for kind in kinds:
        with pytest.raises(BadFrame, match="/type: "):
            spoken.decode_server(frame(spoken, {"type": kind}))
    whole = spoken.encode(Ping())
    for broken in (whole[:-1], frame(spoken, [1]), frame(spoken, 7)):
        with pytest.raises(UndecodableFrame):
            spoken.decode_server(broken)


@BOTH
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "hello", "position": {"lat": 91, "lon": 0}}, "/position/lat: "),
        ({"type": "hello", "holds": [{"job": "a"}]}, "/holds/0/attempt: missing"),
        ({"type": "hello", "vehicle": {"equipment": ["a", "b c"]}}, "/vehicle/equipment/1: "),
        ({"type": "status", "id": 1, "state": "gone"}, "/state: not one of the known values"),
    ],
)
def test_a_bad_field_is_named(spoken: Codec, fields: Any, message: str) -> None:
    with pytest.raises(BadFrame) as caught:
        spoken.decode_client(frame(spoken, fields))
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
def test_no_error_repeats_what_was_sent(spoken: Codec, fields: Any) -> None:
    with pytest.raises(codec.FrameError) as caught:
        spoken.decode_client(frame(spoken, fields))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("head", ["dd", "df", "db", "c6"])
def test_nothing_is_allocated_for_a_claim(head: str) -> None:
    bomb = bytes.fromhex("82a474797065a4706f6e67a178" + head + "fffffff0") + bytes(1000)
    tracemalloc.start()
    try:
        with pytest.raises(UndecodableFrame):
            MSGPACK.decode_client(bomb)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
