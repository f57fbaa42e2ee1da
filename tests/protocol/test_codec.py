"""The codec's guarantees for a client: it reads what later servers send, and refuses the rest."""

import json
from typing import Any

import msgpack
import pytest

from mallard_protocol.codec import JSON, MSGPACK, BadFrame, Codec, UndecodableFrame, for_subprotocol
from mallard_protocol.codes import SUBPROTOCOLS
from mallard_protocol.messages import Ping, Reply, StateChanged

BOTH = pytest.mark.parametrize("spoken", [MSGPACK, JSON], ids=SUBPROTOCOLS)


def frame(spoken: Codec, value: Any) -> bytes | str:
    packed: bytes = msgpack.packb(value) if spoken.binary else b""
    return packed if spoken.binary else json.dumps(value, separators=(",", ":"))


def test_each_subprotocol_has_its_frame_type() -> None:
    for spoken, other in ((MSGPACK, JSON), (JSON, MSGPACK)):
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
    with pytest.raises(BadFrame, match="reply: invalid"):
        spoken.decode_server(frame(spoken, {"type": "reply", "id": 1}))
    kinds: tuple[Any, ...] = (None, 7, [], {})
    for kind in kinds:
        with pytest.raises(BadFrame, match="no type"):
            spoken.decode_server(frame(spoken, {"type": kind}))
    whole = spoken.encode(Ping())
    for broken in (whole[:-1], frame(spoken, [1]), frame(spoken, 7)):
        with pytest.raises(UndecodableFrame):
            spoken.decode_server(broken)
