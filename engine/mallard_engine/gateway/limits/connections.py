"""Limits the connections and the unread bytes that a node holds for unauthenticated clients.

Each connection is a file descriptor, and the node needs some itself: for Redis, the log and the
listener. So the limit of connections is below the limit of descriptors. A client with a valid token
counts towards the total only. Unauthenticated clients are also limited per address, and when the
node is full the oldest of them is disconnected, so that they cannot lock drivers out.
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
from mallard_engine.logs import CountingLog

_refusals = CountingLog(structlog.get_logger(__name__), "connections refused")

PEER: Final = "mallard.peer"
"""The key of a connection's `Peer` in the `state` of a scope."""
MAX_BACKLOG: Final = 4_096
# Unread heads, pipelined requests and bodies of all unauthenticated clients together.
MAX_UNAUTHENTICATED_BYTES: Final = 32 << 20

_OWN_DESCRIPTORS: Final = 64
_MIN_BACKLOG: Final = 32
_MAX_RESERVE: Final = MAX_BACKLOG + 4 * _OWN_DESCRIPTORS


@dataclass(frozen=True, slots=True)
class DescriptorPlan:
    """How the file descriptors of the process are divided.

    Args:
        connections: maximum number of connected clients.
        backlog: maximum number of clients that wait to be accepted. One loop iteration accepts them
            all before any limit is checked, so they are part of the reserve.
    """

    connections: int
    backlog: int

    @classmethod
    def of_process(cls) -> "DescriptorPlan":
        """Return the plan for the soft limit of this process."""
        return cls.of_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    @classmethod
    def of_limit(cls, descriptors: int) -> "DescriptorPlan":
        """Return the plan for this number of descriptors."""
        if descriptors == resource.RLIM_INFINITY:
            descriptors = 1 << 20
        reserve = max(_OWN_DESCRIPTORS, min(descriptors // 4, _MAX_RESERVE))
        backlog = min(max(reserve - _OWN_DESCRIPTORS, _MIN_BACKLOG), MAX_BACKLOG)
        return cls(max(descriptors - reserve, descriptors // 2), backlog)


class Connections:
    """The connections of one listener.

    Args:
        most: maximum number of connections.
        most_per_address: maximum of unauthenticated ones per `client_address.address_key`.
        proxies: exempt, because one of their connections carries many clients.
        refused: called with the reason when a connection is refused or closed by a limit.
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
        self._share = LoopShare()
        self._share_of_known = LoopShare()
        self._most = most
        self._most_per_address = most_per_address
        self._proxies = proxies or TrustedProxies()
        self._refused = refused
        self._open = 0
        self._unauthenticated: dict[Peer, None] = {}  # oldest first
        self._by_address: Counter[str] = Counter()
        self._with_token_by_address: Counter[str] = Counter()
        self._unauthenticated_bytes = 0

    def __len__(self) -> int:
        """Number of open connections."""
        return self._open

    def open(self, host: str, abort: Callable[[], None]) -> "Peer | None":
        """Count a new connection; return None if a limit refuses it.

        Args:
            host: the peer's address.
            abort: closes the connection at once, if it has to make room for another.
        """
        address = address_key(host)
        if self._by_address[address] >= self._most_per_address:
            self.refuse("address")
            return None
        if self._open >= self._most and not self._make_room():
            self.refuse("full")
            return None
        self._open += 1
        peer = Peer(self, address, abort)
        if host == UNKNOWN or not self._proxies.trusts(host):
            self._unauthenticated[peer] = None
            self._by_address[address] += 1
        return peer

    def refuse(self, reason: str) -> None:
        """Count a connection that a limit refused or closed."""
        self._refused(reason)
        _refusals.count(reason)

    def _make_room(self) -> bool:
        """Close the oldest unauthenticated connection; return whether there was one."""
        oldest = next(iter(self._unauthenticated), None)
        if oldest is None:
            return False
        self.refuse("evicted")
        oldest.abort()
        return True

    # -- for `Peer`

    def _is_unauthenticated(self, peer: "Peer") -> bool:
        return peer in self._unauthenticated

    def _authenticate(self, peer: "Peer") -> None:
        if peer in self._unauthenticated:
            del self._unauthenticated[peer]
            self._unauthenticated_bytes -= peer.held
            _subtract_one(self._by_address, peer.address)
            self._with_token_by_address[peer.address] += 1
            peer.has_token = True

    def _share_of(self, peer: "Peer") -> LoopShare:
        """Return the share of the loop that a client without a token uses.

        If another connection from its address has presented a token, it is probably the same
        client, which does not wait behind clients of unknown addresses.
        """
        is_known = peer.address in self._with_token_by_address
        return self._share_of_known if is_known else self._share

    def _closed(self, peer: "Peer") -> None:
        self._authenticate(peer)
        if peer.has_token:
            _subtract_one(self._with_token_by_address, peer.address)
        self._open -= 1

    def _may_hold(self, peer: "Peer", size: int) -> bool:
        if peer not in self._unauthenticated:
            return True
        self._unauthenticated_bytes += size - peer.held
        return self._unauthenticated_bytes <= MAX_UNAUTHENTICATED_BYTES or size <= peer.held


class Peer:
    """One connection as `Connections` counts it. `slow_body_s`: see `allow_slow_body`."""

    __slots__ = ("_abort", "_connections", "address", "has_token", "held", "slow_body_s")

    def __init__(self, connections: Connections, address: str, abort: Callable[[], None]) -> None:
        self.address = address
        self.held = 0
        self.has_token = False
        self.slow_body_s = 0.0
        self._connections: Connections | None = connections
        self._abort: Callable[[], None] | None = abort

    @property
    def is_unauthenticated(self) -> bool:
        """Whether the client has sent no valid token and is not a trusted proxy."""
        return self._connections is not None and self._connections._is_unauthenticated(self)  # noqa: SLF001

    def mark_authenticated(self) -> None:
        """Exempt the connection from the limits of unauthenticated clients."""
        if self._connections is not None:
            self._connections._authenticate(self)  # noqa: SLF001 - the two are one unit

    def run(self, work: Callable[[], None]) -> None:
        """Handle input at once, or within the share of unauthenticated clients."""
        if self._connections is not None and self.is_unauthenticated:
            self._connections._share_of(self).run(self.address, work)  # noqa: SLF001
        else:
            work()

    def later(self, work: Callable[[], None]) -> None:
        """Handle more input in a later loop iteration."""
        if self._connections is not None and self.is_unauthenticated:
            self._connections._share_of(self).later(self.address, work)  # noqa: SLF001
        else:
            asyncio.get_running_loop().call_soon(work)

    def charge(self, seconds: float) -> None:
        """Charge CPU time spent elsewhere to the share of unauthenticated clients."""
        if self._connections is not None and self.is_unauthenticated:
            self._connections._share_of(self).charge(seconds)  # noqa: SLF001

    def hold(self, size: int) -> bool:
        """Record how many unread bytes the connection holds.

        Returns:
            False if all unauthenticated connections together hold too many.
        """
        connections = self._connections
        if connections is None or size == self.held:
            return True
        may = connections._may_hold(self, size)  # noqa: SLF001
        self.held = size
        if not may:
            connections.refuse("memory")
        return may

    def refused(self, reason: str) -> None:
        """Count that the connection was refused."""
        if self._connections is not None:
            self._connections.refuse(reason)

    def abort(self) -> None:
        """Close the connection at once and stop counting it."""
        abort = self._abort
        self.close()
        if abort is not None:
            abort()

    def close(self) -> None:
        """Stop counting the connection. Further calls do nothing."""
        connections, self._connections, self._abort = self._connections, None, None
        if connections is not None:
            connections._closed(self)  # noqa: SLF001


def _subtract_one(counts: Counter[str], address: str) -> None:
    counts[address] -= 1
    if not counts[address]:
        del counts[address]


def mark_authenticated(scope: Mapping[str, Any]) -> None:
    """Record that the client of an ASGI scope has a valid token."""
    peer = scope.get("state", {}).get(PEER)
    if peer is not None:
        peer.mark_authenticated()


def allow_slow_body(scope: Mapping[str, Any], longest_s: float) -> None:
    """Let the body of this request take so long, instead of a few seconds, if it keeps coming."""
    peer = scope.get("state", {}).get(PEER)
    if peer is not None:
        peer.slow_body_s = longest_s
