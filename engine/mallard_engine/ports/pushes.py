"""The ports of pushes: the market's stream, and the sink that delivers them to sockets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mallard_engine.ports.effects import Push


@dataclass(frozen=True, slots=True)
class PushEntry:
    """A push read from a market's stream; ``cursor`` is the position behind it."""

    market: str
    cursor: str
    push: Push


class PushStream(Protocol):
    """The pushes of all nodes, in the order of their transitions."""

    async def head(self, market: str) -> str:
        """Return the end of a market's push stream."""

    async def read(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        """Return what follows the cursor of each market, in order; wait up to ``block_ms``."""


class PushSink(Protocol):
    """Delivers pushes to the sockets of this node."""

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        """Deliver at once the pushes that are next in order. The relay brings the rest."""
