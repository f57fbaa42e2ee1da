"""The port of the nodes' leases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mallard_engine.ports.effects import Effects


@dataclass(frozen=True, slots=True)
class Standing:
    """Under which conditions a node holds its drivers in a market.

    If any of them changes, other nodes may have taken the drivers out of matching, or the effect of
    a lost reply is unknown: the node takes its drivers back.

    Attributes:
        since_ms: When the node's lease began.
        lost_ms: When the market was last found to have lost writes; 0: never.
        line: The number of the node's connection to the market's server: each has another.
    """

    since_ms: int
    lost_ms: int
    line: int


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat. ``dead``: other nodes whose lease has ended."""

    now_ms: int
    standing: Standing
    dead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Peers:
    """The nodes that do the same work: they serve the same markets of one server.

    Attributes:
        now_ms: The server's clock.
        nodes: Those that are present, with this one.
        changed: How often operators have changed something of a market, if anything has changed
            since this node asked last; else empty.
        is_busy: Whether a node has had drivers to look after in the last seconds.
    """

    now_ms: int
    nodes: tuple[str, ...]
    changed: Mapping[str, int]
    is_busy: bool


class Leases(Protocol):
    """The heartbeats of nodes, and the drivers of nodes that have died.

    A node is present on each server, and has a lease in each market in which it holds drivers.
    """

    def by_server(self, markets: Iterable[str]) -> Sequence[tuple[str, ...]]:
        """Group markets by the server that has them now."""

    async def meet(
        self, markets: tuple[str, ...], node: str, *, works: bool = True, leaves: bool = False
    ) -> Peers:
        """Renew this node's presence among the nodes of a server.

        Args:
            markets: All markets that the node serves of that server.
            node: The node.
            works: The node has drivers to look after, its own or those of a dead node.
            leaves: The node leaves instead.
        """

    async def dead(self, market: str) -> Sequence[str]:
        """Return nodes whose leases in a market have ended."""

    async def beat(self, market: str, node: str) -> Beat:
        """Renew this node's lease."""

    async def reap(self, market: str, node: str, limit: int) -> tuple[int, Effects]:
        """Take up to ``limit`` drivers of a dead node out of matching; return how many."""

    async def leave(self, market: str, node: str) -> bool:
        """Give up this node's lease; False while it still holds drivers."""

    async def hold_role(self, market: str, role: str, node: str, ttl_ms: int) -> bool:
        """Take or renew a role that one node of the market has at a time; return whether it has it.

        ``ttl_ms``: how long it keeps the role without renewing it; 0 gives it up.
        """
