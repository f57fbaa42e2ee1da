"""Attacks with frames on a driver socket."""

import asyncio
import base64
from typing import Final

import msgpack
from websockets.frames import Frame, Opcode

from load_tests.attacks.payloads import hostile_frames
from load_tests.attacks.registry import Streams, Victim, attack

MSGPACK: Final = "mallard.v1.msgpack"
_JSON: Final = "mallard.v1.json"
_CHUNK: Final = 65_536
_BURST: Final = 60
_WITHIN_S: Final = 10.0


@attack("A6", at_once=3, counter='mallard_ws_closed_total{code="4500"}')
async def wrong_hellos_in_a_burst(victim: Victim) -> None:
    """A megabyte of invalid hellos at once, without a token, of each kind."""
    for hostile in hostile_frames():
        is_text = isinstance(hostile.frame, str)
        payload = hostile.frame.encode() if isinstance(hostile.frame, str) else hostile.frame
        streams = await open_socket(victim, _JSON if is_text else MSGPACK)
        await _send(streams, [(payload, Opcode.TEXT if is_text else Opcode.BINARY)] * _BURST)
        victim.done["frames"] += _BURST


@attack("A7b", at_once=3, counter='mallard_ws_closed_total{code="4501"}')
async def long_pongs_with_a_token(victim: Victim) -> None:
    """Pongs of 16 KiB with an unknown array, nineteen a second, by drivers with a token."""
    driver = f"attacker-{victim.address}"
    token = victim.credentials.driver(driver, "phoenix").token
    streams = await open_socket(victim, MSGPACK, token)
    reader, writer = streams
    hello, pong = msgpack.packb({"type": "hello"}), b"\x82\xa4type\xa4pong\xa1x\xdc\x3e\x80"
    writer.write(masked(hello, Opcode.BINARY))
    reading = asyncio.create_task(_read_to_the_end(reader))
    try:
        while not reading.done():
            writer.write(masked(pong + b"\x80" * 16_000, Opcode.BINARY))
            await writer.drain()
            victim.done["frames"] += 1
            await asyncio.sleep(1 / 19)
    finally:
        reading.cancel()
        writer.close()


@attack("A8", counter='mallard_ws_closed_total{code="1007"}')
async def texts_of_bad_utf8(victim: Victim) -> None:
    """Text that is not UTF-8, whole and in fragments, and close frames with an invalid reason."""
    broken = (
        [(b'{"type":"\xff"}', Opcode.TEXT)],
        [(b"\xed\xa0\x80", Opcode.TEXT)],
        [(b"\x03\xe8\xff\xfe", Opcode.CLOSE)],
        [(b"\x00\x01", Opcode.CLOSE)],
    )
    for frames in broken:
        await _send(await open_socket(victim, _JSON), frames)
        victim.done["sockets"] += 1


async def open_socket(victim: Victim, subprotocol: str, token: str = "") -> Streams:
    """Open a driver socket, with a token in its handshake or without. Raises `OSError`."""
    reader, writer = await victim.connect()
    key = base64.b64encode(victim.rng.randbytes(16)).decode()
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    writer.write(
        f"GET /v1/driver HTTP/1.1\r\nHost: {victim.host}:{victim.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n{bearer}\r\n".encode()
    )
    async with asyncio.timeout(_WITHIN_S):
        await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def _send(streams: Streams, frames: list[tuple[bytes, Opcode]]) -> None:
    """Send frames at once, and read until the server closes the connection."""
    reader, writer = streams
    try:
        writer.write(b"".join(masked(payload, opcode) for payload, opcode in frames))
        async with asyncio.timeout(_WITHIN_S):
            await _read_to_the_end(reader)
    finally:
        writer.close()


async def _read_to_the_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(_CHUNK):
        pass


def masked(payload: bytes, opcode: Opcode) -> bytes:
    """Return the frame as a client sends it."""
    return Frame(opcode, payload).serialize(mask=True)
