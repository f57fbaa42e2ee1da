"""The handshake of a driver's socket (RFC 6455, section 4.2), as nearly all clients send it.

The library checks any handshake, and takes a third of the CPU of a connect: it reads the head a
second time and builds a response of objects. This module accepts a head that is plain in every
field, and leaves any other to the library, which also words the refusals.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

DRIVER_PATH: Final = b"/v1/driver"

Header = tuple[bytes, bytes]

# Below the library's limits of a line and of the number of fields.
_MAX_HEAD_BYTES: Final = 4096
_MAX_FIELDS: Final = 32
_KEY_BYTES: Final = 16
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = b"sec-websocket-key"
_VERSION: Final = b"sec-websocket-version"
_EXTENSIONS: Final = b"sec-websocket-extensions"
_AT_MOST_ONCE: Final = frozenset(
    {b"upgrade", b"connection", b"origin", _KEY, _VERSION, _EXTENSIONS}
)
# Firefox sends "keep-alive, Upgrade".
_CONNECTIONS: Final = frozenset({b"upgrade", b"keep-alive, upgrade"})
# Extensions are ignored, but must be spelled as extensions.
_ONE: Final = rb"[a-z-]+(?:; ?[a-z_]+(?:=[0-9]+)?)*"
_PLAIN_EXTENSIONS: Final = re.compile(rb"%s(?:, ?%s)*" % (_ONE, _ONE))


def is_driver_target(url: bytes) -> bool:
    """Whether a request's target is the path of driver sockets, with or without a query."""
    path = url.partition(b"?")[0]
    return path == DRIVER_PATH or (b"%" in path and unquote_to_bytes(path) == DRIVER_PATH)


def plain_key(url: bytes, headers: Sequence[Header], size: int) -> bytes | None:
    """Return the key of a plain handshake; None if the library has to decide.

    Args:
        url: the target of the request.
        headers: its fields, names in lower case.
        size: the bytes of its head.
    """
    if url != DRIVER_PATH or size > _MAX_HEAD_BYTES or len(headers) > _MAX_FIELDS:
        return None
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _AT_MOST_ONCE:
            if name in found:
                return None
            found[name] = value
    key = found.get(_KEY, b"")
    is_plain = (
        found.get(b"upgrade", b"").lower() == b"websocket"
        and found.get(b"connection", b"").lower() in _CONNECTIONS
        and found.get(_VERSION) == b"13"
        and _PLAIN_EXTENSIONS.fullmatch(found.get(_EXTENSIONS, b"none")) is not None
        and _is_key(key)
    )
    return key if is_plain else None


def offered_subprotocols(headers: Sequence[Header]) -> list[str]:
    """Return the subprotocols that the client offers, in its order."""
    return [
        name.strip()
        for field, value in headers
        if field == b"sec-websocket-protocol"
        for name in value.decode("latin-1").split(",")
    ]


def acceptance(key: bytes, subprotocol: str | None, headers: Sequence[Header]) -> bytes:
    """Return the response that opens the socket.

    Args:
        key: the client's key.
        subprotocol: the one that was chosen; None without one.
        headers: further fields.
    """
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    chosen = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: "
        + accept
        + b"\r\n"
        + chosen.encode()
        + b"".join(b"%s: %s\r\n" % header for header in headers)
        + b"\r\n"
    )


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False
