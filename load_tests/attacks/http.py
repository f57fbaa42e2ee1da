"""Attacks on the HTTP side and on its connections."""

import asyncio
from typing import Final

from load_tests.attacks.registry import Victim, attack

_CHUNK: Final = 16_384
_TRAILERS: Final = b"x-trailer: " + b"y" * 1_000 + b"\r\n"


@attack("A1")
async def endless_trailers(victim: Victim) -> None:
    """Trailer lines without an end behind a chunked body."""
    reader, writer = await victim.connect()
    try:
        writer.write(b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        while not writer.is_closing():
            writer.write(_TRAILERS * 16)
            await writer.drain()
            victim.done["kilobytes"] += 16
        await reader.read(_CHUNK)
    finally:
        writer.close()


@attack("A2", at_once=2)
async def pipelined_and_never_read(victim: Victim) -> None:
    """Requests without an end whose answers are never read."""
    _, writer = await victim.connect(receive_buffer=4_096)
    request = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"z" * 60_000
    try:
        while not writer.is_closing():
            writer.write(request)
            await writer.drain()
            victim.done["requests"] += 1
            await asyncio.sleep(0)
    finally:
        writer.transport.abort()
