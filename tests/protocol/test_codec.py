"""The codec's guarantees: cost, tolerance, error texts."""

import contextlib
import json
import sys
import tracemalloc
from typing import Any

import msgpack
import pytest

from load_tests.attacks.payloads import HostileFrame, hostile_frames
from mallard_protocol import codec
from mallard_protocol.codec import (
    JSON,
    MSGPACK,
    BadFrame,
    BadToken,
    Codec,
    Dropped,
    UndecodableFrame,
    for_subprotocol,
)
from mallard_protocol.codes import MAX_CONTAINERS, MAX_FRAME_BYTES, SUBPROTOCOLS
from mallard_protocol.lifecycle import Step, Wish
from mallard_protocol.messages import (
    Accept,
    Decline,
    Hello,
    Location,
    OfferAck,
    Ping,
    Pong,
    Progress,
    Reply,
    StateChanged,
    Status,
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
def test_frequent_messages_take_the_fast_path(
    spoken: Codec, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    canonical = spoken.encode(message)
    fields = json.loads(JSON.encode(message))
    reordered = dict(reversed(fields.items()))
    other = frame(spoken, reordered)
    monkeypatch.setattr(spoken, "_parse", None)
    assert spoken.decode_client(canonical) == (message, 0)
    assert spoken.decode_client(other) == (message, 0)


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
    spoken: Codec, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = dict(reversed(json.loads(JSON.encode(message)).items()))
    wide = (
        msgpack.packb(fields, use_single_float=True)
        .replace(b"\xcf", b"\xd3")  # as a signed integer
        .replace(b"\xa2id\x07", b"\xa2id\xd3" + bytes(7) + b"\x07")
    )
    monkeypatch.setattr(spoken, "_parse", None)
    read, dropped = spoken.decode_client(wide if spoken.binary else json.dumps(fields, indent=1))
    assert (type(read), dropped) == (type(message), 0)


@BOTH
def test_additional_key_is_never_overlooked(spoken: Codec) -> None:
    unknown: tuple[Any, ...] = (1, {"a": 1}, '"')
    for value in unknown:
        pong = {"type": "pong", "x": value}
        assert spoken.decode_client(frame(spoken, pong)) == (Pong(), 0)
        twice = frame(spoken, pong | {"y": 2})
        with pytest.raises(UndecodableFrame):
            spoken.decode_client(
                twice.replace(b"\xa1y", b"\xa1x")
                if isinstance(twice, bytes)
                else twice.replace('"y"', '"x"')
            )


@pytest.mark.finding("A6")
@pytest.mark.parametrize("attack", [pytest.param(a, id=a.name) for a in hostile_frames()])
def test_hostile_frame_costs_a_bounded_number_of_steps(attack: HostileFrame) -> None:
    """Calls of Python functions are counted: a busy machine cannot change their number."""
    spoken = MSGPACK if isinstance(attack.frame, bytes) else JSON
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        with contextlib.suppress(codec.FrameError):
            spoken.decode_client(attack.frame)
    finally:
        sys.setprofile(None)
    assert calls < 4 * MAX_CONTAINERS


@pytest.mark.finding("A6")
@BOTH
def test_more_lists_and_maps_than_allowed_are_a_bad_field(spoken: Codec) -> None:
    fields = {"type": "pong", "x": [[]] * (MAX_CONTAINERS - 2)}
    assert spoken.decode_client(frame(spoken, fields)) == (Pong(), 0)
    excess: tuple[list[Any], ...] = ([[]] * (MAX_CONTAINERS - 1), [{}] * (MAX_CONTAINERS - 1))
    for one_more in excess:
        with pytest.raises(BadFrame, match="lists and maps"):
            spoken.decode_client(frame(spoken, {"type": "pong", "x": one_more}))
    brackets = {"type": "pong", "x": "[{" * MAX_CONTAINERS}
    assert spoken.decode_client(frame(spoken, brackets)) == (Pong(), 0)


@pytest.mark.finding("C18")
@BOTH
def test_invalid_fields_of_hello_are_named(spoken: Codec) -> None:
    hello = {"type": "hello", "token": "t", "position": {"lat": 91, "lon": 0}, "vehicle": []}
    message, dropped = spoken.decode_client(frame(spoken, hello))
    assert message == Hello(token="t")
    assert isinstance(dropped, Dropped)
    assert dropped.fields == ("vehicle", "position")
    wrong_tokens: tuple[Any, ...] = (1, "", [], {"a": 1}, True, "x" * 8193)
    for wrong in wrong_tokens:
        with pytest.raises(BadToken):
            spoken.decode_client(frame(spoken, {"type": "hello", "token": wrong}))


@BOTH
def test_largest_frame_is_accepted(spoken: Codec) -> None:
    # Long enough for the size to take two bytes in MessagePack already.
    padded = {"type": "pong", "x": "y" * 1000}
    padded["x"] += "y" * (MAX_FRAME_BYTES - len(frame(spoken, padded)))
    assert spoken.decode_client(frame(spoken, padded)) == (Pong(), 0)
    padded["x"] += "y"
    with pytest.raises(codec.FrameTooBig):
        spoken.decode_client(frame(spoken, padded))


def test_frames_size_is_counted_in_bytes() -> None:
    text = JSON.encode(Decline(1, "of_1", "🦆" * 5000))
    assert len(text) < MAX_FRAME_BYTES
    with pytest.raises(codec.FrameTooBig):
        JSON.decode_client(text)


def test_each_subprotocol_has_its_frame_type() -> None:
    for spoken, other in ((MSGPACK, JSON), (JSON, MSGPACK)):
        with pytest.raises(UndecodableFrame):
            spoken.decode_client(other.encode(Pong()))
        with pytest.raises(UndecodableFrame):
            spoken.decode_server(other.encode(Ping()))


def test_codec_is_found_by_subprotocol() -> None:
    assert [for_subprotocol(name) for name in SUBPROTOCOLS] == [MSGPACK, JSON]
    with pytest.raises(KeyError):
        for_subprotocol("mallard.v2.json")


@BOTH
def test_client_ignores_messages_of_a_later_server(spoken: Codec) -> None:
    later = {"type": "horoscope", "seq": 1, "deep": [[[[[[[[[[[1]]]]]]]]]]]}
    assert spoken.decode_server(frame(spoken, later)) is None
    reply = {"type": "reply", "id": 1, "state": "levitating", "mood": {"level": 9}}
    assert spoken.decode_server(frame(spoken, reply)) == Reply(1, "levitating")
    changed = {"type": "state", "seq": 4, "state": "paused", "why": "full_moon"}
    assert spoken.decode_server(frame(spoken, changed)) == StateChanged(4, "paused", "full_moon")


@BOTH
def test_client_refuses_malformed_server_messages(spoken: Codec) -> None:
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
def test_bad_field_is_named(spoken: Codec, fields: Any, message: str) -> None:
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
def test_errors_do_not_quote_the_input(spoken: Codec, fields: Any) -> None:
    with pytest.raises(codec.FrameError) as caught:
        spoken.decode_client(frame(spoken, fields))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("head", ["dd", "df", "db", "c6"])
def test_claimed_sizes_allocate_nothing(head: str) -> None:
    bomb = bytes.fromhex("82a474797065a4706f6e67a178" + head + "fffffff0") + bytes(1000)
    tracemalloc.start()
    try:
        with pytest.raises(UndecodableFrame):
            MSGPACK.decode_client(bomb)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
