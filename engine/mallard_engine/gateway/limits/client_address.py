"""Determines the client address that limits per address count by.

Behind a reverse proxy every connection comes from the proxy. `X-Forwarded-For` is trusted from the
proxies in `MALLARD_TRUSTED_PROXIES` and ignored from other peers, because the client wrote it.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final

Headers = Iterable[tuple[bytes, bytes]]

UNKNOWN: Final = ""
"""The address of a peer without one: a Unix socket, or a closed connection."""

# A client gets at least a /64 (RFC 6177), so all addresses of a /64 count as one.
_IPV6_BITS_OF_ONE_CLIENT: Final = 64
_MAX_HOPS: Final = 32
# A connect asks twice for the key of its peer. Only addresses get here, so that entries are short.
_KNOWN: Final = 4_096


@lru_cache(_KNOWN)
def address_key(host: str) -> str:
    """Return the key of a host in limits per address: an IPv4 address, or an IPv6 /64."""
    address = _parsed(host)
    if address is None:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    return str(ip_network((address, _IPV6_BITS_OF_ONE_CLIENT), strict=False))


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` is trusted.

    Args:
        networks: addresses and networks in CIDR notation.

    Raises:
        ValueError: an entry is neither an address nor a network.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(ip_network(network, strict=False) for network in networks)

    def trusts(self, host: str) -> bool:
        """Whether the host is one of the proxies."""
        address = _parsed(host) if self._networks else None
        return address is not None and any(address in network for network in self._networks)

    def client_of(self, scope: Mapping[str, Any]) -> str:
        """Return the `address_key` of the client of an ASGI scope (HTTP or WebSocket)."""
        peer = scope.get("client")
        return self.client(peer[0] if peer else UNKNOWN, scope["headers"])

    def client(self, peer: str, headers: Headers) -> str:
        """Return the `address_key` of the client behind a connection from `peer`.

        Read from the right: the last entry is what our own proxy saw, and the first that is not
        one of the proxies is the client. An entry that is no address ends the search.
        """
        if not self.trusts(peer):
            return address_key(peer)
        client = peer
        for hop in self._hops(headers):
            address = _parsed(hop)
            if address is None:
                break
            client = str(address)
            if not self.trusts(client):
                break
        return address_key(client)

    @staticmethod
    def _hops(headers: Headers) -> list[str]:
        values = [value for name, value in headers if name == b"x-forwarded-for"]
        hops = b",".join(values).decode("latin-1").rsplit(",", _MAX_HOPS)
        return [_without_port(hop.strip()) for hop in reversed(hops)]


def _parsed(host: str) -> IPv4Address | IPv6Address | None:
    """Parse an address; an IPv4-mapped IPv6 address becomes its IPv4 address."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _without_port(hop: str) -> str:
    """`192.0.2.1:80` and `[2001:db8::1]:80`, as some proxies write, without the port."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
