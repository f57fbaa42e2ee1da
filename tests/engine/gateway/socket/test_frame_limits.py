"""What the input of one socket may cost others, and how broken frames end."""

import asyncio
from typing import Any

import msgpack
import pytest
from structlog.testing import capture_logs
from websockets.frames import Frame, Opcode

from mallard_engine.gateway.socket.request_handlers import Requests
from mallard_engine.gateway.socket.transport import protocol as socket_protocol
from mallard_engine.gateway.socket.transport import rate_limit
from tests.engine.gateway.conftest import NEAR, RunningNode
from tests.engine.gateway.driver_app import JSON, MSGPACK, open_app
from tests.support import eventually


def masked(payload: bytes, opcode: Opcode = Opcode.BINARY, **flags: Any) -> bytes:
    return Frame(opcode, payload, **flags).serialize(mask=True)


def padded(kind: str, size: int) -> bytes:
    frame: bytes = msgpack.packb({"type": kind, "x": "y" * (size - 20)})
    return frame


@pytest.mark.finding("A6")
async def test_burst_is_handled_in_many_iterations(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_protocol, "SLICE_S", 0.0)  # each frame takes it all
    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello(position=NEAR)
        requests = [{"type": "nonsense", "id": number} for number in range(60)]
        data = b"".join(masked(msgpack.packb(request)) for request in requests)
        turns = 0
        app.socket.transport.write(data)
        reader = asyncio.create_task(app.socket.recv())
        await reader
        for number in range(1, 60):
            # In order, with the frames of others handled between.
            answer = asyncio.create_task(app.socket.recv())
            while not answer.done():
                turns += 1
                await asyncio.sleep(0)
            assert msgpack.unpackb(answer.result())["id"] == number
        assert turns >= 59


@pytest.mark.finding("A6")
async def test_burst_does_not_delay_another_socket(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_protocol, "SLICE_S", 0.0)
    done: list[str] = []
    original = socket_protocol.DriverSocketProtocol._take

    def noted(self: Any, message: bytes | str) -> None:
        done.append("burst" if len(message) > 100 else "other")
        original(self, message)

    monkeypatch.setattr(socket_protocol.DriverSocketProtocol, "_take", noted)
    async with (
        open_app(node.ws, node.token("d1")) as burst,
        open_app(node.ws, node.token("d2")) as app,
    ):
        await burst.hello()
        await app.hello()
        done.clear()
        burst.socket.transport.write(masked(padded("pong", 200)) * 150)
        app.socket.transport.write(masked(msgpack.packb({"type": "pong"})))
        await eventually(lambda: len(done) == 151)
        assert done.index("other") < 100


@pytest.mark.finding("A6")
async def test_burst_before_hello_ends_at_its_first_frame(
    node: RunningNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = 0
    original = socket_protocol.DriverSocketProtocol._take

    def counted(self: Any, message: bytes | str) -> None:
        nonlocal decoded
        decoded += 1
        original(self, message)

    monkeypatch.setattr(socket_protocol.DriverSocketProtocol, "_take", counted)
    wrong = msgpack.packb({"type": "hello", "token": 1, "x": [{}] * 16_000})
    async with open_app(node.ws) as app:
        app.socket.transport.write(masked(wrong) * 60)
        assert await app.closed() in {4500, 4501}
    assert decoded == 1


@pytest.mark.finding("A7b")
@pytest.mark.parametrize("kind", ["pong", "nonsense", "location"])
async def test_bytes_over_the_rate_close_the_socket(node: RunningNode, kind: str) -> None:
    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello()
        for _ in range(20):
            await app.socket.send(padded(kind, 16_000))
        assert await app.closed() == 4004
        assert "rate_limited" in {error["code"] for error in await app.received("error")}


@pytest.mark.finding("A7b")
async def test_bytes_of_fragments_and_pings_count(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello()
        whole = padded("pong", 16_000)
        parts = masked(whole[:8_000], fin=False) + masked(whole[8_000:], Opcode.CONT)
        app.socket.transport.write((parts + masked(b"x" * 125, Opcode.PING)) * 20)
        assert await app.closed() == 4004


@pytest.mark.finding("A7b")
async def test_burst_of_stored_fixes_is_within_the_limit(node: RunningNode) -> None:
    now = node.node.store.now_ms()
    async with open_app(node.ws, node.token("d1"), subprotocol=JSON) as app:
        await app.hello()
        for batch in range(20):
            at = now - (20 - batch) * 1_000
            fixes = [[at + n, NEAR["lat"], NEAR["lon"], 5.0, None, None] for n in range(100)]
            await app.send("location", fixes=fixes)
        assert (await app.ask("status", state="available"))["type"] == "reply"


@pytest.fixture
def held_requests(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Requests are answered only when the event is set, as while Redis is away."""
    released = asyncio.Event()
    original = Requests.answer

    async def answer(self: Requests, request: Any) -> Any:
        await released.wait()
        return await original(self, request)

    monkeypatch.setattr(Requests, "answer", answer)
    # A burst that takes a second to fill, instead of ten.
    monkeypatch.setattr(rate_limit, "_BURST_FRAMES", 20)
    return released


@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
async def test_frames_that_waited_for_a_request_keep_the_socket(
    node: RunningNode, held_requests: asyncio.Event, spoken: str
) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=spoken) as app:
        await app.hello(position=NEAR)
        for number in range(45):
            await app.send("status", id=number, state="available")
            await asyncio.sleep(1 / 18)
        held_requests.set()
        for number in range(45):
            assert (await app.receive("reply"))["id"] == number
        assert not await app.received("error")


@pytest.mark.finding("A7b")
@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
async def test_frames_over_the_rate_close_a_socket_that_waited(
    node: RunningNode, held_requests: asyncio.Event, spoken: str
) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=spoken) as app:
        await app.hello(position=NEAR)
        for number in range(60):
            await app.send("status", id=number, state="available")
        await asyncio.sleep(0.5)
        held_requests.set()
        assert await app.closed() == 4004


BROKEN = {
    "text of bad UTF-8": (masked(b'{"type":"\xff"}', Opcode.TEXT), 1007),
    "text of half a surrogate": (masked(b"\xed\xa0\x80", Opcode.TEXT), 1007),
    "fragments of bad UTF-8": (
        masked(b'{"a":"\xc3', Opcode.TEXT, fin=False) + masked(b'"}', Opcode.CONT),
        1007,
    ),
    "close with a bad reason": (masked(b"\x03\xe8\xff\xfe", Opcode.CLOSE), 1007),
    "close with a bad code": (masked(b"\x00\x01", Opcode.CLOSE), 1002),
    "close of one byte": (masked(b"\x03", Opcode.CLOSE), 1002),
    "reserved bit": (b"\xc2\x80\x00\x00\x00\x00", 1002),
    "reserved opcode": (b"\x83\x80\x00\x00\x00\x00", 1002),
    "long ping": (b"\x89\xfe\x00\x7e" + bytes(4 + 126), 1002),
    "fragmented ping": (b"\x09\x80\x00\x00\x00\x00", 1002),
    "continuation of nothing": (masked(b"x", Opcode.CONT), 1002),
    "message within fragments": (masked(b"x", fin=False) + masked(b"x"), 1002),
    "not masked": (b"\x82\x01x", 1002),
    "too big": (b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4), 1009),
}


@pytest.mark.finding("A8")
@pytest.mark.parametrize("has_token", [True, False])
@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
@pytest.mark.parametrize("name", BROKEN)
async def test_broken_frames_end_with_their_code_and_no_traceback(
    node: RunningNode, name: str, spoken: str, has_token: bool, caplog: pytest.LogCaptureFixture
) -> None:
    data, code = BROKEN[name]
    with capture_logs() as logs:
        async with open_app(
            node.ws, node.token("d1") if has_token else None, subprotocol=spoken
        ) as app:
            if has_token:
                await app.hello()
            app.socket.transport.write(data)
            assert await app.closed() == code
        await eventually(lambda: len(node.node.socket) == 0)
    assert not [line for line in logs if line["log_level"] in {"error", "critical"}]
    assert not [line for line in caplog.records if line.levelname == "ERROR"]
    lives = {"socket open", "socket closed"}
    debug = [line for line in logs if line["log_level"] == "debug" and line["event"] not in lives]
    assert len(debug) <= 1


@pytest.mark.finding("A8")
@pytest.mark.parametrize("spoken", [MSGPACK, JSON])
async def test_frame_type_of_the_other_subprotocol_is_undecodable(
    node: RunningNode, spoken: str
) -> None:
    async with open_app(node.ws, node.token("d1"), subprotocol=spoken) as app:
        await app.socket.send('{"type":"hello"}' if spoken == MSGPACK else b"\x81\xa4type\xa5hello")
        assert await app.closed() == 4500


async def test_frame_with_a_needlessly_long_size_is_parsed(node: RunningNode) -> None:
    async with open_app(node.ws, node.token("d1")) as app:
        await app.hello()
        payload = msgpack.packb({"type": "nonsense", "id": 7})
        head = b"\x82\xff" + len(payload).to_bytes(8, "big") + bytes(4)
        app.socket.transport.write((head + payload) * 3)
        for _ in range(3):
            assert (await app.receive("error"))["id"] == 7
