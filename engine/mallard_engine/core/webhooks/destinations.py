"""Where deliveries may go: which URLs and which addresses.

The engine posts to a URL that an order service chose, from inside the operator's network. A name is
resolved for each connection, and each address is checked here, so that a name that changes its
address between the check and the connection gains nothing.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HTTPS_PORT: Final = 443
_FIRST_FREE_PORT: Final = 1024
_LAST_PORT: Final = 65_535
_MAX_HOST: Final = 253
_VISIBLE: Final = re.compile(r"[!-~]+")
_LABEL: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
# A host whose last label is a number is an IPv4 address to some readers (WHATWG URL, 3.5).
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")

# IANA's registries of special-purpose addresses, and multicast.
_NOT_PUBLIC_4: Final = tuple(
    map(
        ipaddress.IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
            *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24"),
            *("192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        ),
    )
)
# Only global unicast is public. Within it: protocols (Teredo, ORCHID), documentation, 6to4.
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    map(
        ipaddress.IPv6Network,
        ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)


class BadUrl(ValueError):
    """Deliveries may not go to this URL. The text says why."""


class Destination(NamedTuple):
    """The parts of a good URL. ``host`` has no brackets."""

    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Destinations:
    """The addresses that deliveries may go to: public ones, and those of ``allowed``."""

    allowed: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> "Destinations":
        """Return those of these networks (CIDR), which may be private.

        Raises:
            ValueError: one of them is no network.
        """
        return cls(tuple(ipaddress.ip_network(it, strict=False) for it in networks))

    def admits(self, address: Address, scheme: str) -> bool:
        """Whether deliveries may go to an address; with ``http`` only to configured ones."""
        if any(address in network for network in self.allowed):
            return True
        return scheme == "https" and is_public(address)

    def check(self, url: str) -> Destination:
        """Return the parts of a URL.

        An address in it is checked; a name is not resolved.

        Raises:
            BadUrl: deliveries may not go there.
        """
        found = read_url(url)
        if found.scheme == "http" and not self.allowed:
            raise BadUrl("the scheme must be https")
        address = address_of(found.host)
        if address is not None and not self.admits(address, found.scheme):
            raise BadUrl("deliveries may not go to this address")
        return found


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet.

    IPv6 addresses that hold an IPv4 address (mapped, compatible, NAT64, 6to4, Teredo) are not.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.scope_id is not None or address not in _GLOBAL_6:
        return False
    return not any(address in network for network in _NOT_PUBLIC_6)


def address_of(host: str) -> Address | None:
    """Return the address that a host is; None: it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


@lru_cache(maxsize=1_024)
def read_url(url: str) -> Destination:
    """Return the parts of a URL that has one meaning to every reader.

    Raises:
        BadUrl: it is malformed, or has parts that a delivery cannot have.
    """
    if not _VISIBLE.fullmatch(url) or "\\" in url:
        raise BadUrl("a URL has visible ASCII characters only, and no backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrl("this is not a URL") from None
    if parts.scheme not in {"https", "http"}:
        raise BadUrl("the scheme must be https")
    if not url.startswith(f"{parts.scheme}://") or not parts.netloc:
        raise BadUrl("write the URL with //, its scheme in lower case")
    if "@" in parts.netloc:
        raise BadUrl("a URL must not name a user: deliveries are authenticated by their signature")
    if "#" in url:
        raise BadUrl("a fragment is not sent: leave it out")
    host = parts.hostname or ""
    _check_host(host, is_bracketed=parts.netloc.startswith("["))
    if port is None:
        port = _HTTPS_PORT if parts.scheme == "https" else 80
    if port != _HTTPS_PORT and not _FIRST_FREE_PORT <= port <= _LAST_PORT:
        raise BadUrl("the port must be 443 or from 1024")
    return Destination(parts.scheme, host, port)


def _check_host(host: str, *, is_bracketed: bool) -> None:
    address = address_of(host)
    if is_bracketed:
        if not isinstance(address, ipaddress.IPv6Address) or address.scope_id is not None:
            raise BadUrl("the host is not an IPv6 address")
        return
    if isinstance(address, ipaddress.IPv4Address):
        return
    labels = host.split(".")
    if len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise BadUrl("the host is not a valid name; write an international one in its ASCII form")
    if _NUMBER.fullmatch(labels[-1]):
        raise BadUrl("write an IPv4 address as four decimal numbers")
