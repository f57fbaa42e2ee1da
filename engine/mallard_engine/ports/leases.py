"""The port of the nodes' leases."""

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


class Leases(Protocol):
    """The heartbeats of nodes, and the drivers of nodes that have died."""

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
