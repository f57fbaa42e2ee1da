"""The port of a market's event log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.ports.drivers import DriverFix


@dataclass(frozen=True, slots=True)
class MovedJob:
    """A job that its driver is on the way to. `etas_ms`: its pickup and drop-off; 0: unknown."""

    job: str
    service: str
    etas_ms: tuple[int, int]


class EventLog(Protocol):
    """What has happened in each market, on all nodes, in order; kept for a day."""

    async def ends(self, market: str) -> tuple[Place, Place] | None:
        """Return the places of the oldest event that is kept and of the newest; None: none is."""

    async def read(self, market: str, after: Place, limit: int) -> Sequence[MarketEvent]:
        """Return at most ``limit`` events after a place, oldest first."""

    async def has(self, market: str, event: str) -> bool:
        """Whether an event is kept, given as :attr:`Effects.event` names it."""

    async def tail(self, after: Mapping[str, Place], block_ms: int) -> Sequence[MarketEvent]:
        """Return what follows the place of each market, in order; wait up to ``block_ms``.

        Drivers' moves are among it, which no other call returns.

        One caller at a time: the calls share a connection.
        """

    def left(self, market: str) -> None:
        """Note that nobody follows a market: the next `tail` begins with moves from then on."""

    async def publish_move(self, market: str, fix: DriverFix, stops: Sequence[MovedJob]) -> None:
        """Tell all nodes where a driver is, for the jobs that are its next stop. Not kept."""

    async def heading(self, market: str, driver: str) -> float | None:
        """Return a driver's heading when it last moved, in degrees; None if it is not known."""
