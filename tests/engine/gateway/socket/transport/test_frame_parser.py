"""The frame parser compared with the WebSocket library."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from mallard_engine.gateway.socket.transport.frame_parser import FrameParser
from mallard_engine.gateway.socket.transport.protocol import frame
from mallard_protocol.codes import MAX_FRAME_BYTES

payloads = st.binary(max_size=300) | st.sampled_from(
    [b"x" * size for size in (125, 126, 127, 16_383, MAX_FRAME_BYTES)]
)
binary = payloads.map(lambda data: [Frame(Opcode.BINARY, data)])
text = st.text(max_size=50).map(lambda words: [Frame(Opcode.TEXT, words.encode())])
control = st.sampled_from([Opcode.PING, Opcode.PONG]).map(lambda code: [Frame(code, b"hi")])
fragments = st.tuples(payloads, control | st.just([]), payloads).map(
    lambda parts: [
        Frame(Opcode.BINARY, parts[0], fin=False),
        *parts[1],
        Frame(Opcode.CONT, parts[2]),
    ]
)
conversations = st.lists(binary | text | control | fragments, max_size=8).map(
    lambda groups: [one for group in groups for one in group]
)


def sent(frames: list[Frame]) -> bytes:
    return b"".join(one.serialize(mask=True) for one in frames)


def parse_in_pieces(
    frames: FrameParser, data: bytes, pieces: list[int]
) -> list[tuple[bytes | None, bytes]]:
    """Parse the data, which arrives in pieces of these sizes."""
    pieces_out: list[tuple[bytes | None, bytes]] = []
    for size in pieces:
        pieces_out += frames.parse(data[:size])
        data = data[size:]
    return [*pieces_out, *frames.parse(data)]


def library(data: bytes) -> list[Frame]:
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=None)
    protocol.receive_data(data)
    return [event for event in protocol.events_received() if isinstance(event, Frame)]


@settings(deadline=None)
@given(conversations, st.lists(st.integers(0, 200), max_size=30))
def test_any_segmentation_gives_the_same_frames(said: list[Frame], pieces: list[int]) -> None:
    pieces_out = parse_in_pieces(FrameParser(), sent(said), pieces)
    assert [message for message, _ in pieces_out if message is not None] == [
        one.data for one in said if one.opcode is Opcode.BINARY and one.fin
    ]
    # Frames for the library are passed one complete frame at a time.
    whole = b"".join(other for _, other in pieces_out)
    others = [one for one in said if one.opcode is not Opcode.BINARY or not one.fin]
    assert [(one.opcode, one.data, one.fin) for one in library(whole)] == [
        (one.opcode, one.data, one.fin) for one in others
    ]


def test_message_between_fragments_goes_to_the_library() -> None:
    data = sent([Frame(Opcode.BINARY, b"a", fin=False), Frame(Opcode.BINARY, b"b")])
    assert [message for message, _ in FrameParser().parse(data)] == [None, None]


@pytest.mark.parametrize(
    "mistake",
    [
        Frame(Opcode.BINARY, b"x").serialize(mask=False),
        Frame(Opcode.BINARY, b"x" * (MAX_FRAME_BYTES + 1)).serialize(mask=True),
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x82\x7f",
    ],
    ids=["no mask", "too big", "2^63 bytes", "a length of eight bytes"],
)
def test_all_input_after_an_error_goes_to_the_library(mistake: bytes) -> None:
    frames = FrameParser()
    good = sent([Frame(Opcode.BINARY, b"good")])
    assert list(frames.parse(good + mistake[:2]))[:1] == [(b"good", b"")]
    pieces_out = [*frames.parse(mistake[2:]), *frames.parse(good)]
    assert all(message is None for message, _ in pieces_out)


def test_incomplete_frame_costs_no_more_than_a_frame() -> None:
    frames = FrameParser()
    claim = Frame(Opcode.BINARY, b"x" * MAX_FRAME_BYTES).serialize(mask=True)
    assert list(frames.parse(claim[:-1])) == []
    assert [len(message or b"") for message, _ in frames.parse(claim[-1:])] == [MAX_FRAME_BYTES]


@given(payloads | st.text(max_size=200) | st.just(b"y" * 70_000))
def test_encoded_frames_equal_those_of_the_library(payload: bytes | str) -> None:
    theirs = (
        Frame(Opcode.TEXT, payload.encode())
        if isinstance(payload, str)
        else Frame(Opcode.BINARY, payload)
    )
    assert frame(payload) == theirs.serialize(mask=False)


def test_close_frame_goes_to_the_library() -> None:
    goodbye = Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=True)
    assert list(FrameParser().parse(goodbye)) == [(None, goodbye)]


def test_passed_through_input_is_not_split() -> None:
    frames = FrameParser()
    frames.pass_through()
    data = sent([Frame(Opcode.BINARY, b"a"), Frame(Opcode.BINARY, b"b")])
    assert list(frames.parse(data[:3])) == [(None, data[:3])]
    assert list(frames.parse(data[3:])) == [(None, data[3:])]
