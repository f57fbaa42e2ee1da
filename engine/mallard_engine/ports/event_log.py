"""The port of a market's event log."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mallard_engine.core.market_events import MarketEvent
from mallard_protocol.events import Place


class EventLog(Protocol):
    """What has happened in each market, on all nodes, in order; kept for a day."""

    async def ends(self, market: str) -> tuple[Place, Place] | None:
        """Return the places of the oldest event that is kept and of the newest; None: none is."""

    async def read(self, market: str, after: Place, limit: int) -> Sequence[MarketEvent]:
        """Return at most ``limit`` events after a place, oldest first."""

    async def tail(self, after: Mapping[str, Place], block_ms: int) -> Sequence[MarketEvent]:
        """Return what follows the place of each market, in order; wait up to ``block_ms``.

        One caller at a time: the calls share a connection.
        """
