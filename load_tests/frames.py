"""Frames of the driver socket in MessagePack, by the independent `msgpack` package.

The engine's own codec is deliberately not used: any app can read and write this.
"""

from typing import Any, Final

import msgpack

SUBPROTOCOL: Final = "mallard.v1.msgpack"

Frame = dict[str, Any]


class BadFrame(ValueError):
    """The server sent an invalid message."""


def pack(kind: str, /, **fields: Any) -> bytes:
    """Return the frame of a message without its fields that are None."""
    present = {name: value for name, value in fields.items() if value is not None}
    packed: bytes = msgpack.packb({"type": kind, **present})
    return packed


def unpack(data: bytes) -> Frame:
    """Return the message of a frame, a map with a ``type``. Raises `BadFrame`."""
    try:
        frame = msgpack.unpackb(data)
    except (ValueError, msgpack.UnpackException) as error:
        raise BadFrame(f"not MessagePack: {error}") from error
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise BadFrame("not a map with a type")
    return frame
