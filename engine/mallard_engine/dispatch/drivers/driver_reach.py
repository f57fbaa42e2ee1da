"""Which malls a driver is in reach of, and who has just come into reach: their jobs get a round."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf

from mallard_engine.core.places.safe_region import SafeRegion, newly_in_reach, safe_region_at
from mallard_engine.dispatch.context import Context
from mallard_engine.dispatch.rounds.round_scheduler import Rounds
from mallard_engine.ports import DriverFix, Freed

# Gates are up to 35 m outside the walls, and a phone between high walls is off by as much.
AT_MALL_M = 70.0


@dataclass(slots=True)
class _Whereabouts:
    """A driver's socket on this node, the malls in its reach as of its last believed fix, when that
    came (the loop's seconds), and what was around it when somebody last looked."""

    epoch: int
    fix: DriverFix | None = None
    fix_s: float = 0.0
    malls: Collection[str] = ()
    around: SafeRegion | None = None


class Reach:
    """Wakes the malls that a driver becomes free near, or comes near to."""

    def __init__(self, context: Context, rounds: Rounds) -> None:
        self._context = context
        self._rounds = rounds
        self._drivers: dict[tuple[str, str], _Whereabouts] = {}
        self._expected: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._drivers)

    def __contains__(self, driver: tuple[str, str]) -> bool:
        """Whether the (market, driver) has its socket on this node."""
        return driver in self._drivers

    def around(self, market: str, fix: DriverFix) -> SafeRegion:
        """What is around a fix; looked up anew only when its driver has moved out of the circle in
        which nothing of it changes."""
        known = self._drivers.get((market, fix.driver))
        if known is None:
            return self._look_around(market, fix.lat, fix.lon)
        around = known.around
        if around is None or not around.contains(fix.lat, fix.lon):
            around = known.around = self._look_around(market, fix.lat, fix.lon)
        return around

    def placed(self, market: str, fixes: Sequence[DriverFix]) -> Sequence[DriverFix]:
        """The fixes, each told whether it lies in its market at all."""
        return [
            fix if fix.fault or self.around(market, fix).inside else fix._replace(fault="outside")
            for fix in fixes
        ]

    def renew(self) -> None:
        """Look anew around each driver: malls or radii have changed."""
        for known in self._drivers.values():
            known.around = None

    @contextmanager
    def expecting(self, market: str, driver: str) -> Iterator[None]:
        """While a driver's hello is under way: its socket is here already."""
        key = market, driver
        self._expected[key] += 1
        try:
            yield
        finally:
            self._expected[key] -= 1
            if not self._expected[key]:
                del self._expected[key]

    def expects(self, market: str, driver: str) -> bool:
        """Whether the driver's socket is on this node, or its hello is under way."""
        return (market, driver) in self._drivers or (market, driver) in self._expected

    def came(self, market: str, driver: str, epoch: int) -> None:
        """A driver's socket is on this node."""
        older = self._drivers.get((market, driver))
        fix, fix_s = (older.fix, older.fix_s) if older else (None, 0.0)
        self._drivers[market, driver] = _Whereabouts(epoch, fix, fix_s)

    def left(self, market: str, driver: str, epoch: int) -> None:
        """A driver's socket has closed; that of a newer epoch stays."""
        known = self._drivers.get((market, driver))
        if known is not None and known.epoch <= epoch:
            del self._drivers[market, driver]

    def last_fix(self, market: str, driver: str) -> tuple[DriverFix | None, int]:
        """The last believed fix of a driver of this node, and how many milliseconds ago it came."""
        known = self._drivers.get((market, driver))
        if known is None or known.fix is None:
            return None, 0
        passed_s = asyncio.get_running_loop().time() - known.fix_s
        return known.fix, int(passed_s * 1000)

    def freed(self, market: str, drivers: Sequence[Freed]) -> None:
        """Drivers became free: the malls around them get a round if jobs wait there."""
        # Read only where a mall has rounds of its own: a city has hundreds.
        malls = (mall for driver in drivers for mall in self._malls(market, driver))
        points = {driver.driver: (driver.lat, driver.lon) for driver in drivers}
        self._rounds.wake_waiting(market, malls, points)

    def moved(self, market: str, fixes: Sequence[DriverFix], verdicts: Sequence[str]) -> None:
        """Drivers moved: malls that one has newly come into reach of get a round as well."""
        new: set[str] = set()
        points: dict[str, tuple[float, float]] = {}
        now_s = asyncio.get_running_loop().time()
        for fix, verdict in zip(fixes, verdicts, strict=True):
            known = self._drivers.get((market, fix.driver))
            if known is None or verdict != "ok":
                continue
            known.fix, known.fix_s = fix, now_s
            malls = self.around(market, fix).malls
            if malls is not known.malls and malls != known.malls:
                new.update(newly_in_reach(malls, known.malls))
                points[fix.driver] = (fix.lat, fix.lon)
                known.malls = malls
        if new:
            self._rounds.wake_waiting(market, new, points)

    def _malls(self, market: str, driver: Freed) -> Collection[str]:
        known = self._drivers.get((market, driver.driver))
        if known is not None and known.around and known.around.contains(driver.lat, driver.lon):
            return known.around.malls
        return self._look_around(market, driver.lat, driver.lon).malls

    def _look_around(self, market: str, lat: float, lon: float) -> SafeRegion:
        policy = self._context.policy(market)
        # A batch is of the whole market: who is in reach of what is for its problem to say.
        reach_m = inf if policy.round == "batch" else policy.max_radius_m
        place = self._context.places.market(market)
        return safe_region_at(place, lat, lon, reach_m=reach_m, at_mall_m=AT_MALL_M)
