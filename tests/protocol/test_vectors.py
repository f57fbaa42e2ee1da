"""The golden vectors hold for the codec, the `msgpack` package and the standard `json`."""

import json
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from mallard_engine.contract.reading import frames
from mallard_engine.contract.reading.frames import BadMessage, FrameReader, FrameTooBig
from mallard_protocol.codec import JSON, MSGPACK, FrameError, UndecodableFrame
from mallard_protocol.messages import ClientMessage, ServerMessage

VECTORS = Path(__file__).parent / "vectors"
Case = dict[str, Any]


def load(name: str) -> list[Any]:
    cases: list[Case] = json.loads((VECTORS / f"{name}.json").read_text())
    return [pytest.param(case, id=case["name"]) for case in cases]


def joined(pieces: str | list[tuple[str, int]]) -> str:
    return pieces if isinstance(pieces, str) else "".join(piece * n for piece, n in pieces)


def forms_of(case: Case) -> list[tuple[FrameReader, bytes | str]]:
    """Each form of a `lenient` or `bad` case, with the reader that it is meant for."""
    forms: list[tuple[FrameReader, bytes | str]] = []
    if "text" in case:
        forms.append((frames.JSON, joined(case["text"])))
    if "msgpack" in case:
        forms.append((frames.MSGPACK, bytes.fromhex(joined(case["msgpack"]))))
    assert forms
    return forms


def unpacked(data: bytes) -> Any:
    return msgpack.unpackb(data, strict_map_key=True)


@pytest.mark.parametrize("case", load("client") + load("server"))
def test_independent_libraries_agree_on_the_bytes(case: Case) -> None:
    assert unpacked(bytes.fromhex(case["msgpack"])) == case["json"]
    assert msgpack.packb(case["json"]).hex() == case["msgpack"]


@pytest.mark.parametrize("case", load("client"))
def test_client_messages_encode_and_decode(case: Case) -> None:
    packed = bytes.fromhex(case["msgpack"])
    message, dropped = frames.MSGPACK.read(packed)
    assert dropped == 0
    assert frames.JSON.read(json.dumps(case["json"])) == (message, 0)
    assert MSGPACK.encode(message) == packed
    assert json.loads(JSON.encode(message)) == case["json"]


@pytest.mark.parametrize("case", load("server"))
def test_server_messages_encode_and_decode(case: Case) -> None:
    packed = bytes.fromhex(case["msgpack"])
    message = MSGPACK.decode_server(packed)
    assert message is not None
    assert JSON.decode_server(json.dumps(case["json"])) == message
    # Not the bytes: the head of a map with many optional fields may be wider than it needs to be.
    encoded = MSGPACK.encode(message)
    assert isinstance(encoded, bytes)
    assert unpacked(encoded) == case["json"]
    assert json.loads(JSON.encode(message)) == case["json"]


@pytest.mark.parametrize("case", load("lenient"))
def test_lenient_frames_decode_to_their_meaning(case: Case) -> None:
    for reader, frame in forms_of(case):
        message, dropped = reader.read(frame)
        assert json.loads(JSON.encode(message)) == case["means"]
        assert dropped == case["dropped"]


@pytest.mark.parametrize("case", load("bad"))
def test_bad_frames_get_their_verdict(case: Case) -> None:
    for reader, frame in forms_of(case):
        with pytest.raises(FrameError) as caught:
            reader.read(frame)
        error = caught.value
        match error:
            case BadMessage():
                assert (error.code, error.request_id) == (case["verdict"], case["id"])
                assert str(error).startswith("/") or error.code == "unknown_type"
            case UndecodableFrame():
                assert case["verdict"] == "undecodable"
            case FrameTooBig():
                assert case["verdict"] == "too_big"


@pytest.mark.parametrize(("name", "union"), [("client", ClientMessage), ("server", ServerMessage)])
def test_every_type_and_field_has_a_case(name: str, union: Any) -> None:
    cases = [param.values[0]["json"] for param in load(name)]
    for struct in union.__args__:
        of_type = [case for case in cases if case["type"] == struct.__struct_config__.tag]
        assert of_type, struct
        shown = {field for case in of_type for field in case}
        wanted = {field.encode_name for field in msgspec.structs.fields(struct)}
        assert wanted <= shown, struct


def test_names_are_unique() -> None:
    for name in ("client", "server", "lenient", "bad"):
        names = [param.id for param in load(name)]
        assert len(names) == len(set(names))
