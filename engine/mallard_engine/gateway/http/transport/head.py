"""Checks a request's head by the rules that the parser does not apply (RFC 9112)."""

import re
from collections.abc import Sequence
from typing import Final

from mallard_engine.gateway.http.transport.framing import Malformed

Header = tuple[bytes, bytes]

VERSIONS: Final = frozenset({"1.0", "1.1"})

# RFC 9110, section 7.2, and RFC 3986, section 3.2.2: a name, an IPv4 or a bracketed IPv6 address,
# and a port.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255})"
    rb"(?::[0-9]{0,5})?"
)
_UPGRADE: Final = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def check_host(version: str, headers: Sequence[Header]) -> None:
    """Refuse a head without exactly one valid `Host` (RFC 9112, section 3.2).

    HTTP/1.0 allows it to be missing.

    Raises:
        Malformed: the request must be answered with 400.
    """
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts and version == "1.0":
        return
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise Malformed


def body_length(version: str, headers: Sequence[Header]) -> int | None:
    """Return the length of the body that follows a head; None if it is chunked.

    A head that another server could interpret differently is refused (RFC 9112, section 6.3), which
    prevents request smuggling.

    Raises:
        Malformed: the request must be answered with 400.
    """
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    if codings:
        if lengths or version == "1.0" or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise Malformed
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise Malformed
    return int(lengths[0])


def without_upgrade(head: bytes) -> bytes:
    """Return the head without its `Upgrade` field, which a server may ignore.

    The parser stops after a head that asks for an upgrade, although the body of an ordinary request
    follows. Java's HTTP client asks for `h2c` with its first request.
    """
    return _UPGRADE.sub(b"\r\nx-upgrade:", head)
