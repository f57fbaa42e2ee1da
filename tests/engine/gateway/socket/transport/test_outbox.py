"""The outbox of a transport that is not always writable."""

from collections.abc import Callable, Iterable

from mallard_engine.gateway.socket.transport.outbox import MAX_BYTES, MAX_MESSAGES, Outbox
from mallard_engine.gateway.socket.transport.rate_limit import FrameRate
from mallard_protocol.codes import Close


class Pipe:
    """A transport in memory that is writable or not."""

    def __init__(self) -> None:
        self.rate = FrameRate()
        self.on_writable: Callable[[], None] | None = None
        self.is_writable = True
        self.sent: list[bytes | str] = []
        self.code = 0

    def mark_authenticated(self) -> None:
        pass

    def send_frames(self, payloads: Iterable[bytes | str]) -> None:
        self.sent += payloads

    def end(self, code: int, reason: str = "") -> None:
        self.code = code


def test_frames_are_written_while_writable() -> None:
    pipe = Pipe()
    outbox = Outbox(pipe)
    outbox.put(b"1")
    outbox.put("2")
    assert pipe.sent == [b"1", "2"]
    assert len(outbox) == 0


def test_queued_frames_keep_their_order() -> None:
    pipe = Pipe()
    outbox = Outbox(pipe)
    pipe.is_writable = False
    outbox.put(b"1")
    pipe.is_writable = True
    outbox.put(b"2")  # not before the queued one
    assert pipe.sent == []
    assert pipe.on_writable is not None
    pipe.on_writable()
    outbox.put(b"3")
    assert pipe.sent == [b"1", b"2", b"3"]


def test_one_message_too_many_closes_the_socket() -> None:
    pipe = Pipe()
    outbox = Outbox(pipe)
    pipe.is_writable = False
    for _ in range(MAX_MESSAGES):
        outbox.put(b"x")
    assert (pipe.code, len(outbox)) == (0, MAX_MESSAGES)
    outbox.put(b"x")
    assert (pipe.code, len(outbox)) == (Close.TOO_SLOW, 0)


def test_one_byte_too_many_closes_the_socket() -> None:
    pipe = Pipe()
    outbox = Outbox(pipe)
    pipe.is_writable = False
    outbox.put(b"x" * MAX_BYTES)
    assert pipe.code == 0
    outbox.put(b"x")
    assert pipe.code == Close.TOO_SLOW


def test_dropped_frames_are_not_sent_later() -> None:
    pipe = Pipe()
    outbox = Outbox(pipe)
    pipe.is_writable = False
    outbox.put(b"x")
    outbox.end(Close.DRAINING)
    assert pipe.on_writable is not None
    pipe.on_writable()
    assert pipe.sent == []
