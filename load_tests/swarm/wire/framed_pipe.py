"""What a coordinator and its workers say to each other: MessagePack behind its length."""

import asyncio
from typing import Any, Final

import msgpack

_LENGTH_BYTES: Final = 4


def send(writer: asyncio.StreamWriter, kind: str, what: Any = None) -> None:
    """Send a message."""
    packed = msgpack.packb((kind, what))
    writer.write(len(packed).to_bytes(_LENGTH_BYTES, "big") + packed)


async def receive(reader: asyncio.StreamReader) -> tuple[str, Any] | None:
    """The next message; None when the other has gone."""
    try:
        size = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        kind, what = msgpack.unpackb(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return kind, what
