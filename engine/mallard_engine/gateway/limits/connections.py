"""How many connections and unread bytes a node holds for clients that have shown no good token.

Each connection is a file descriptor, and the node needs some for itself: the store's line, its log,
the listener. So connections end below the descriptor limit. A client that has shown a good token is
*known*: it counts towards the total only. All others are strangers: they are limited per address,
and when the node is full the oldest of them makes room, so that they cannot shut drivers out.
"""

import asyncio
import resource
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog

from mallard_engine.gateway.limits.client_address import UNKNOWN, TrustedProxies, address_key
from mallard_engine.gateway.limits.loop_share import LoopShare
from mallard_engine.logs import Tally

_refusals = Tally(structlog.get_logger(__name__), "connections refused")

PEER: Final = "mallard.peer"
"""Under this name a request's scope holds, in `state`, its connection's `Peer`."""
MAX_BACKLOG: Final = 4_096
# Of all strangers together: unread heads, pipelined requests and bodies.
MAX_UNAUTHENTICATED_BYTES: Final = 32 << 20

_OWN_DESCRIPTORS: Final = 64
_MIN_BACKLOG: Final = 32
_MAX_RESERVE: Final = MAX_BACKLOG + 4 * _OWN_DESCRIPTORS


@dataclass(frozen=True, slots=True)
class DescriptorPlan:
    """How the descriptors of the process are shared out.

    Args:
        connections: how many clients may be connected.
        backlog: how many may wait to be accepted. One turn of the event loop accepts them all,
            before any limit of ours is asked, so they come out of the reserve.
    """

    connections: int
    backlog: int

    @classmethod
    def of_process(cls) -> "DescriptorPlan":
        """Return the plan for the soft limit of this process."""
        return cls.of_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    @classmethod
    def of_limit(cls, descriptors: int) -> "DescriptorPlan":
        """Return the plan for so many descriptors."""
        if descriptors == resource.RLIM_INFINITY:
            descriptors = 1 << 20
        reserve = max(_OWN_DESCRIPTORS, min(descriptors // 4, _MAX_RESERVE))
        backlog = min(max(reserve - _OWN_DESCRIPTORS, _MIN_BACKLOG), MAX_BACKLOG)
        return cls(max(descriptors - reserve, descriptors // 2), backlog)


class Connections:
    """The connections of one listener.

    Args:
        most: connections in all.
        most_per_address: of strangers; see `client_address.address_key`.
        proxies: their connections carry many clients, so they are never strangers.
        refused: called with the reason each time a connection is refused or cut.
    """

    def __init__(
        self,
        *,
        most: int = 1 << 20,
        most_per_address: int = 1 << 20,
        proxies: TrustedProxies | None = None,
        refused: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.leaving = False
        self.share = LoopShare()
        self._most = most
        self._most_per_address = most_per_address
        self._proxies = proxies or TrustedProxies()
        self._refused = refused
        self._open = 0
        self._unauthenticated: dict[Peer, None] = {}  # the oldest first
        self._by_address: Counter[str] = Counter()
        self._unauthenticated_bytes = 0

    def __len__(self) -> int:
        """How many connections are open."""
        return self._open

    def open(self, host: str, cut: Callable[[], None]) -> "Peer | None":
        """Count a new connection; None if it is one too many.

        Args:
            host: where it comes from.
            cut: ends it at once, when it has to make room for another.
        """
        address = address_key(host)
        if self._by_address[address] >= self._most_per_address:
            self.refuse("address")
            return None
        if self._open >= self._most and not self._make_room():
            self.refuse("full")
            return None
        self._open += 1
        peer = Peer(self, address, cut)
        if host == UNKNOWN or not self._proxies.trusts(host):
            self._unauthenticated[peer] = None
            self._by_address[address] += 1
        return peer

    def refuse(self, reason: str) -> None:
        """Count a connection that was refused or cut."""
        self._refused(reason)
        _refusals.count(reason)

    def _make_room(self) -> bool:
        """Cut the connection of the oldest stranger; return whether there was one."""
        oldest = next(iter(self._unauthenticated), None)
        if oldest is None:
            return False
        self.refuse("evicted")
        oldest.cut()
        return True

    # -- for `Peer`

    def _is_unauthenticated(self, peer: "Peer") -> bool:
        return peer in self._unauthenticated

    def _authenticate(self, peer: "Peer") -> None:
        if peer in self._unauthenticated:
            del self._unauthenticated[peer]
            self._unauthenticated_bytes -= peer.held
            self._by_address[peer.address] -= 1
            if not self._by_address[peer.address]:
                del self._by_address[peer.address]

    def _closed(self, peer: "Peer") -> None:
        self._authenticate(peer)
        self._open -= 1

    def _may_hold(self, peer: "Peer", size: int) -> bool:
        if peer not in self._unauthenticated:
            return True
        self._unauthenticated_bytes += size - peer.held
        return self._unauthenticated_bytes <= MAX_UNAUTHENTICATED_BYTES or size <= peer.held


class Peer:
    """One connection, as `Connections` counts it."""

    __slots__ = ("_connections", "_cut", "address", "held")

    def __init__(self, connections: Connections, address: str, cut: Callable[[], None]) -> None:
        self.address = address
        self.held = 0
        self._connections: Connections | None = connections
        self._cut: Callable[[], None] | None = cut

    @property
    def is_unauthenticated(self) -> bool:
        """Whether the client has shown no good token, and is no proxy."""
        return self._connections is not None and self._connections._is_unauthenticated(self)  # noqa: SLF001

    def mark_authenticated(self) -> None:
        """The client has shown a good token."""
        if self._connections is not None:
            self._connections._authenticate(self)  # noqa: SLF001 - the two are one unit

    def run(self, work: Callable[[], None]) -> None:
        """Handle input: at once, or in a stranger's turn."""
        if self._connections is not None and self.is_unauthenticated:
            self._connections.share.run(self.address, work)
        else:
            work()

    def later(self, work: Callable[[], None]) -> None:
        """Handle more input in a later turn of the loop."""
        if self._connections is not None and self.is_unauthenticated:
            self._connections.share.later(self.address, work)
        else:
            asyncio.get_running_loop().call_soon(work)

    def charge(self, seconds: float) -> None:
        """Count what a stranger causes elsewhere towards the share of all strangers."""
        if self._connections is not None and self.is_unauthenticated:
            self._connections.share.charge(seconds)

    def hold(self, size: int) -> bool:
        """Say how many unread bytes the connection holds now; False if that is too many in all."""
        connections = self._connections
        if connections is None or size == self.held:
            return True
        may = connections._may_hold(self, size)  # noqa: SLF001
        self.held = size
        if not may:
            connections.refuse("memory")
        return may

    def refused(self, reason: str) -> None:
        """Count that the connection is refused."""
        if self._connections is not None:
            self._connections.refuse(reason)

    def cut(self) -> None:
        """End the connection and stop counting it."""
        cut = self._cut
        self.close()
        if cut is not None:
            cut()

    def close(self) -> None:
        """The connection has ended. Does nothing the second time."""
        connections, self._connections, self._cut = self._connections, None, None
        if connections is not None:
            connections._closed(self)  # noqa: SLF001


def mark_authenticated(scope: Mapping[str, Any]) -> None:
    """Say that the client of an ASGI scope has shown a good token."""
    peer = scope.get("state", {}).get(PEER)
    if peer is not None:
        peer.mark_authenticated()
