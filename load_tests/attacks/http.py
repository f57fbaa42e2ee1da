"""Attacks on the HTTP side and on its connections."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from load_tests.attacks.registry import Streams, Victim, attack

_SEGMENT: Final = 16_384
_GET: Final = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
_DOCUMENT: Final = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
_CHUNKED: Final = b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
_BODY: Final = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"z" * 60_000
_HANDSHAKE: Final = (
    b"GET /v1/driver HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: mallard.v1.json\r\n"
)
# What an attacker sends in one round: it stops by itself, however much the engine takes.
_MOST_SEGMENTS: Final = 2_000
_PACE_S: Final = 0.002
_HELD: Final = 60
_HOLDS_S: Final = 30.0


@attack("A1", counter='mallard_connections_refused_total{reason="head_too_large"}')
async def endless_trailers(victim: Victim) -> None:
    """Trailer lines without an end behind a chunked body."""
    await _pour(victim, _CHUNKED + b"0\r\n", b"x-trailer: y\r\n" * 1_000)


@attack("A1", counter='mallard_connections_refused_total{reason="head_too_large"}')
async def endless_chunk_extension(victim: Victim) -> None:
    """A line of a chunk's size that never ends."""
    await _pour(victim, _CHUNKED + b"1;", b"y" * _SEGMENT)


@attack("A1", counter='mallard_connections_refused_total{reason="head_too_large"}')
async def endless_head(victim: Victim) -> None:
    """Small header lines without an end."""
    await _pour(victim, b"GET / HTTP/1.1\r\nHost: x\r\n", b"x: y\r\n" * 2_000)


@attack("A1")
async def tiny_chunks(victim: Victim) -> None:
    """A body in chunks of one byte."""
    await _pour(victim, _CHUNKED, b"1\r\nz\r\n" * 2_000)


@attack("A2", at_once=2, counter='mallard_connections_refused_total{reason="unread"}')
async def pipelined_bodies_never_read(victim: Victim) -> None:
    """Requests with bodies whose answers are never read."""
    await _pour(victim, b"", _BODY, reads=False)


@attack("A2", at_once=2, counter='mallard_connections_refused_total{reason="unread"}')
async def pipelined_requests_never_read(victim: Victim) -> None:
    """Small requests in large segments whose answers are never read."""
    await _pour(victim, b"", _GET * 500, reads=False)


@attack("A2")
async def pipelined_requests_read(victim: Victim) -> None:
    """Small requests in large segments by a client that takes the answers."""
    await _pour(victim, b"", _GET * 500)


@attack("A4", counter='mallard_connections_refused_total{reason="slow"}')
async def empty_line_after_an_answer(victim: Victim) -> None:
    """Connections that are kept by a lone line end after an answer."""
    await _hold(victim, _GET, b"\r\n")


@attack("A4", counter='mallard_connections_refused_total{reason="slow"}')
async def half_a_head(victim: Victim) -> None:
    """Connections that hold a head which never ends."""
    await _hold(victim, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 15_000, b"")


@attack("A4", counter='mallard_ws_closed_total{code="4008"}')
async def sockets_without_hello(victim: Victim) -> None:
    """Driver sockets that never say hello."""
    await _hold(victim, _HANDSHAKE + b"\r\n", b"")


@attack("A5", at_once=4, counter='mallard_connections_refused_total{reason="unread"}')
async def answers_never_read(victim: Victim) -> None:
    """Thirty large answers into a receive buffer of 2 KiB."""
    streams = await victim.connect(receive_buffer=2_048)
    with _closing(streams) as (_, writer):
        writer.write(_DOCUMENT * 30)
        await writer.drain()
        await _until_closed(victim, writer, _HOLDS_S)


@attack("A5", at_once=2, counter='mallard_connections_refused_total{reason="unread"}')
async def answers_never_read_before_a_close(victim: Victim) -> None:
    """A large answer with `Connection: close` that is never read."""
    streams = await victim.connect(receive_buffer=2_048)
    with _closing(streams) as (_, writer):
        writer.write(_DOCUMENT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await writer.drain()
        await _until_closed(victim, writer, _HOLDS_S)


@attack("A8", counter='mallard_ws_closed_total{code="1007"}')
async def text_that_is_no_utf8(victim: Victim) -> None:
    """A text frame with bytes that are no UTF-8."""
    streams = await victim.connect()
    with _closing(streams) as (reader, writer):
        writer.write(_HANDSHAKE + b"\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\x84" + bytes(4) + b"\xff\xfe\xfd\xfc")
        await reader.read(_SEGMENT)
        victim.done["frames"] += 1


@attack("A11", counter='mallard_connections_refused_total{reason="bad_request"}')
async def ambiguous_heads(victim: Victim) -> None:
    """Requests that two servers could read differently."""
    for head in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ):
        with _closing(await victim.connect()) as (reader, writer):
            writer.write(head)
            answer = await reader.read(_SEGMENT)
            victim.done["400" if answer.startswith(b"HTTP/1.1 400 ") else "not refused"] += 1


@attack("A13")
async def frames_behind_the_handshake(victim: Victim) -> None:
    """A megabyte of frames right behind the handshake."""
    await _pour(victim, _HANDSHAKE + b"\r\n", b"\x82\xfe\x3f\x00" + bytes(4 + 0x3F00), most=64)


@attack("C1", counter='mallard_connections_refused_total{reason="origin"}')
async def foreign_pages(victim: Victim) -> None:
    """Handshakes of a page that is not ours."""
    with _closing(await victim.connect()) as (reader, writer):
        writer.write(_HANDSHAKE + b"Origin: https://evil.example\r\n\r\n")
        answer = await reader.read(_SEGMENT)
        victim.done["403" if answer.startswith(b"HTTP/1.1 403 ") else "not refused"] += 1


async def _pour(
    victim: Victim, start: bytes, piece: bytes, *, reads: bool = True, most: int = _MOST_SEGMENTS
) -> None:
    """Send a piece again and again until the connection is cut or takes nothing more."""
    streams = await victim.connect(receive_buffer=None if reads else 4_096)
    with _closing(streams) as (reader, writer):
        reading = asyncio.ensure_future(_read_all(reader)) if reads else None
        try:
            writer.write(start)
            for _ in range(most):
                writer.write(piece)
                await writer.drain()
                victim.done["kilobytes"] += len(piece) // 1_024
                await asyncio.sleep(_PACE_S)
        finally:
            if reading is not None:
                reading.cancel()


async def _hold(victim: Victim, first: bytes, then: bytes) -> None:
    """Hold many connections, from many addresses, for as long as the engine lets them live."""
    held: list[Streams] = []
    network = victim.address.rpartition(".")[0]
    try:
        for number in range(_HELD):
            reader, writer = await victim.connect(address=f"{network}.{number % 250 + 1}")
            held.append((reader, writer))
            writer.write(first)
            if then:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(then)
            victim.done["held"] += 1
        async with asyncio.timeout(_HOLDS_S):
            await asyncio.gather(*(_read_all(reader) for reader, _ in held))
        victim.done["rounds that were cut"] += 1
    except TimeoutError:
        victim.done["rounds that outlasted"] += 1
    finally:
        for _, writer in held:
            writer.transport.abort()


async def _read_all(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(_SEGMENT * 4):
            pass
    except OSError:
        pass


async def _until_closed(victim: Victim, writer: asyncio.StreamWriter, within_s: float) -> None:
    """Wait, without reading, until the engine ends the connection."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    try:
        async with asyncio.timeout(within_s):
            while True:
                await asyncio.sleep(0.5)
                writer.write(b"\r\n")  # fails once the connection is gone
                await writer.drain()
    except OSError as error:
        victim.done["outlasted" if isinstance(error, TimeoutError) else "cut"] += 1


@contextmanager
def _closing(streams: Streams) -> Iterator[Streams]:
    try:
        yield streams
    finally:
        streams[1].transport.abort()
