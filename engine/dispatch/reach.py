"""Which malls a driver is in reach of, and who has just come into reach: their jobs get a round."""

from collections.abc import Sequence
from dataclasses import replace

from engine.dispatch.context import Context
from engine.dispatch.rounds import Rounds
from engine.ports import DriverFix, Freed


class Reach:
    """Wakes the malls that a driver becomes free near, or comes near to."""

    def __init__(self, context: Context, rounds: Rounds) -> None:
        self._context = context
        self._rounds = rounds
        # The malls in reach of each driver of this node, as of its last fix.
        self._malls: dict[tuple[str, str], tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._malls)

    def placed(self, market: str, fixes: Sequence[DriverFix]) -> Sequence[DriverFix]:
        """The fixes, each told whether it lies in its market at all."""
        inside = self._context.places.in_market(
            market, [fix.lat for fix in fixes], [fix.lon for fix in fixes]
        )
        return [
            fix if fix.inside == bool(is_inside) else replace(fix, inside=bool(is_inside))
            for fix, is_inside in zip(fixes, inside, strict=True)
        ]

    def freed(self, market: str, drivers: Sequence[Freed]) -> None:
        """Drivers became free: the malls around them get a round if jobs wait there."""
        malls: set[str] = set()
        for driver in drivers:
            malls.update(self._in_reach(market, driver.lat, driver.lon))
        self._rounds.wake_waiting(market, tuple(malls))

    def moved(self, market: str, fixes: Sequence[DriverFix], verdicts: Sequence[str]) -> None:
        """Drivers moved: malls that one has newly come into reach of get a round as well."""
        new: set[str] = set()
        for fix, verdict in zip(fixes, verdicts, strict=True):
            if verdict != "ok":
                continue
            now = self._in_reach(market, fix.lat, fix.lon)
            before = self._malls.get((market, fix.driver))
            if now != before:
                self._malls[market, fix.driver] = now
                if before is not None:
                    new.update(set(now) - set(before))
        self._rounds.wake_waiting(market, tuple(new))

    def forget(self, market: str, driver: str) -> None:
        """The driver's socket is gone."""
        self._malls.pop((market, driver), None)

    def _in_reach(self, market: str, lat: float, lon: float) -> tuple[str, ...]:
        radius_m = self._context.policy(market).max_radius_m
        return self._context.places.malls_in_reach(market, lat, lon, radius_m)
