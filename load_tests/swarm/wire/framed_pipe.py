"""Messages between the coordinator and its workers: MessagePack with a length prefix."""

import asyncio
from typing import Any, Final

import msgpack

_LENGTH_BYTES: Final = 4


def send(writer: asyncio.StreamWriter, kind: str, what: Any = None) -> None:
    """Send a message."""
    packed = msgpack.packb((kind, what))
    writer.write(len(packed).to_bytes(_LENGTH_BYTES, "big") + packed)


async def receive(reader: asyncio.StreamReader) -> tuple[str, Any] | None:
    """Return the next message; None if the connection is closed."""
    try:
        size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        kind, what = msgpack.unpackb(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return kind, what
