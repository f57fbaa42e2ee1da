"""Notices that a host name leads to another server: so managed services fail over.

The server before may go on taking writes, which are lost, or refuse them for lack of replicas,
without ending a connection. So the name is looked up while a connection is open, which ends once
the name leads elsewhere.
"""

import asyncio
import ipaddress
import math
import socket
from collections.abc import Callable
from typing import Final

from mallard_engine.storage.client.address import Address, P

# How often the name is looked up while connections are open.
_LOOK_S: Final = 1.0
# For so long no answer may have had an address of the server before: while caches of several
# resolvers differ, old and new answers alternate.
_GONE_S: Final = 3.0


class NamedWay:
    """The way to the server that a name leads to; all connections of a node share it.

    A name with several addresses leads elsewhere when none of them is left.
    """

    moves: Final = False
    asks: Final = True

    def __init__(self, server: Address) -> None:
        self._server = server
        self._failovers = 0
        # The addresses that connections lead to, when an answer last had one of them, and when the
        # name was last looked up.
        self._current: frozenset[object] = frozenset()
        self._answered_s = self._looked_s = 0.0

    def __str__(self) -> str:
        """Return the name and the port."""
        return str(self._server)

    @property
    def known_failovers(self) -> int:
        """How often the name was found to lead elsewhere."""
        return self._failovers

    async def failovers(self) -> int:
        """Return how often the name has led elsewhere; look it up if that was a while ago."""
        clock = asyncio.get_running_loop().time
        if clock() - self._looked_s >= _LOOK_S:
            # Each look-up takes a thread, and for seconds if the name service is away.
            self._looked_s = math.inf
            try:
                found = await self._look_up()
            finally:
                self._looked_s = clock()
            if found and (found & self._current or clock() - self._answered_s >= _GONE_S):
                self._lead_to(found)
        return self._failovers

    async def open(self, protocol: Callable[[], P]) -> tuple[P, int]:
        """Connect; return the protocol and `failovers`. Raises `OSError`."""
        found = await self._look_up()
        connected, _ = await self._server.open(protocol)
        if found:
            self._lead_to(found)
        return connected, self._failovers

    def introduction(self, name: str) -> list[tuple[str | int, ...]]:
        """Return the commands that open a connection: authentication, database, PING."""
        return self._server.introduction(name)

    def _lead_to(self, found: frozenset[object]) -> None:
        self._answered_s = asyncio.get_running_loop().time()
        if self._current.isdisjoint(found):
            self._failovers += bool(self._current)
            self._current = found

    async def _look_up(self) -> frozenset[object]:
        """Return the addresses of the name; none if the name service is away."""
        loop, server = asyncio.get_running_loop(), self._server
        try:
            found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        except OSError:
            return frozenset()
        return frozenset(address[:2] for *_, address in found)


def is_name(address: Address) -> bool:
    """Whether an address may lead to another machine later."""
    if address.path or address.host == "localhost":
        return False
    try:
        ipaddress.ip_address(address.host)
    except ValueError:
        return True
    return False
