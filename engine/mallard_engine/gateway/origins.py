"""Whether a handshake's `Origin` is the address that it asked for (RFC 6454).

A browser sends the origin of its page, a native WebSocket stack the address that it connects to.
"""

import re
from typing import Final

_ORIGIN: Final = re.compile(r"(https?|wss?)://(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,255})(?::(\d+))?")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,255})(?::(\d*))?")
_PORTS: Final = {"http": "80", "https": "443"}


def is_same_origin(origin: str, host: str, *, is_tls: bool) -> bool:
    """Whether the origin is the address that was asked for.

    A page of `http://` is another origin than the same host's `https://` address. The opposite is
    taken: a proxy may end the client's TLS without saying so.

    Args:
        origin: the value of `Origin`; some native stacks name it with `ws` and `wss`.
        host: the value of `Host`.
        is_tls: whether the client's connection is known to be encrypted.
    """
    if not (origin.isascii() and host.isascii()):
        return False  # in lower case some of these letters are others
    asked = _HOST.fullmatch(host.lower())
    named = _ORIGIN.fullmatch(origin.lower())
    if asked is None or named is None:
        return False
    scheme = named[1].replace("ws", "http")
    if is_tls and scheme == "http":
        return False
    default = _PORTS[scheme]
    return (named[2], named[3] or default) == (asked[1], asked[2] or default)
