"""Which malls a driver is in reach of, and who has just come into reach: their jobs get a round."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.dispatch.context import Context
from engine.dispatch.rounds import Rounds
from engine.ports import DriverFix, Freed


@dataclass(slots=True)
class _Whereabouts:
    """A driver's socket on this node, and the malls in its reach as of its last fix."""

    epoch: int
    malls: tuple[str, ...] = ()


class Reach:
    """Wakes the malls that a driver becomes free near, or comes near to."""

    def __init__(self, context: Context, rounds: Rounds) -> None:
        self._context = context
        self._rounds = rounds
        self._drivers: dict[tuple[str, str], _Whereabouts] = {}

    def __len__(self) -> int:
        return len(self._drivers)

    def __contains__(self, driver: tuple[str, str]) -> bool:
        """Whether the (market, driver) has its socket on this node."""
        return driver in self._drivers

    def placed(self, market: str, fixes: Sequence[DriverFix]) -> Sequence[DriverFix]:
        """The fixes, each told whether it lies in its market at all."""
        inside = self._context.places.in_market(
            market, [fix.lat for fix in fixes], [fix.lon for fix in fixes]
        )
        return [
            fix if fix.inside == bool(is_inside) else replace(fix, inside=bool(is_inside))
            for fix, is_inside in zip(fixes, inside, strict=True)
        ]

    def came(self, market: str, driver: str, epoch: int) -> None:
        """A driver's socket is on this node."""
        self._drivers[market, driver] = _Whereabouts(epoch)

    def left(self, market: str, driver: str, epoch: int) -> None:
        """A driver's socket has closed; that of a newer epoch stays."""
        known = self._drivers.get((market, driver))
        if known is not None and known.epoch <= epoch:
            del self._drivers[market, driver]

    def freed(self, market: str, drivers: Sequence[Freed]) -> None:
        """Drivers became free: the malls around them get a round if jobs wait there."""
        malls: set[str] = set()
        for driver in drivers:
            malls.update(self._in_reach(market, driver.lat, driver.lon))
        self._rounds.wake_waiting(market, malls)

    def moved(self, market: str, fixes: Sequence[DriverFix], verdicts: Sequence[str]) -> None:
        """Drivers moved: malls that one has newly come into reach of get a round as well."""
        new: set[str] = set()
        for fix, verdict in zip(fixes, verdicts, strict=True):
            known = self._drivers.get((market, fix.driver))
            if known is None or verdict != "ok":
                continue
            malls = self._in_reach(market, fix.lat, fix.lon)
            if malls != known.malls:
                new.update(set(malls) - set(known.malls))
                known.malls = malls
        self._rounds.wake_waiting(market, new)

    def _in_reach(self, market: str, lat: float, lon: float) -> tuple[str, ...]:
        radius_m = self._context.policy(market).max_radius_m
        return self._context.places.malls_in_reach(market, lat, lon, radius_m)
