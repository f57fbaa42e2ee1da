"""Compares the `Origin` of a handshake with the address that it was sent to (RFC 6454).

A browser sends the origin of its page, a native WebSocket client the address that it connects to.
"""

import re
from typing import Final

_ORIGIN: Final = re.compile(r"(https?|wss?)://(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,255})(?::(\d+))?")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,255})(?::(\d*))?")
_PORTS: Final = {"http": "80", "https": "443"}


def is_same_origin(origin: str, host: str, *, is_tls: bool) -> bool:
    """Whether the origin equals the requested address.

    An `http://` page has another origin than the `https://` address of its host. The opposite case
    is accepted: a proxy may terminate TLS without saying so.

    Args:
        origin: the value of `Origin`; some native clients use the schemes `ws` and `wss`.
        host: the value of `Host`.
        is_tls: whether the client's connection is known to be encrypted.
    """
    if not (origin.isascii() and host.isascii()):
        return False  # `lower` maps some letters outside of ASCII to ASCII ones
    requested = _HOST.fullmatch(host.lower())
    named = _ORIGIN.fullmatch(origin.lower())
    if requested is None or named is None:
        return False
    scheme = named[1].replace("ws", "http")
    if is_tls and scheme == "http":
        return False
    default = _PORTS[scheme]
    return (named[2], named[3] or default) == (requested[1], requested[2] or default)
