"""Tracks which malls each driver is in reach of, and wakes the rounds of newly reached malls."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from mallard_engine.core.places.safe_region import SafeRegion, newly_in_reach, safe_region_at
from mallard_engine.dispatch.context import Context
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.ports import DriverFix, Freed

# Gates lie up to 35 m outside the outline, and the error of a fix near high walls is as large.
AT_MALL_M = 70.0


class LocatedFix(NamedTuple):
    """A fix and its safe region; None if the fix is known to be invalid.

    ``reloads``: how many there had been then. Malls or radii may change with each.
    """

    fix: DriverFix
    region: SafeRegion | None
    reloads: int


@dataclass(slots=True)
class _ConnectedDriver:
    """A driver with a socket on this node.

    ``fix``: the last accepted fix, received at ``fix_s`` (seconds of the event loop). ``malls``:
    the malls in reach of it. ``region``: the last computed region; None after a reload.
    """

    epoch: int
    fix: DriverFix | None = None
    fix_s: float = 0.0
    malls: Collection[str] = ()
    region: SafeRegion | None = None


class DriverReach:
    """The drivers of this node. Wakes malls when a driver in reach becomes free or comes in reach.

    `locate` computes a region only if the fix lies outside the safe circle of the driver's last
    region.
    """

    def __init__(self, context: Context, rounds: RoundScheduler) -> None:
        self._context = context
        self._rounds = rounds
        self._drivers: dict[tuple[str, str], _ConnectedDriver] = {}
        self._expected: Counter[tuple[str, str]] = Counter()
        self._sockets: Counter[str] = Counter()
        self._reloads = 0

    def __len__(self) -> int:
        return len(self._drivers)

    def __contains__(self, driver: tuple[str, str]) -> bool:
        """Whether the (market, driver) has its socket on this node."""
        return driver in self._drivers

    def locate(self, market: str, fixes: Sequence[DriverFix]) -> Sequence[LocatedFix]:
        """Find the region of each fix. A fix outside of the market gets the fault ``outside``."""
        located = []
        for fix in fixes:
            region = None if fix.fault else self._region(market, fix)
            is_outside = region is not None and not region.inside
            placed = fix._replace(fault="outside") if is_outside else fix
            located.append(LocatedFix(placed, region, self._reloads))
        return located

    def reload(self) -> None:
        """Forget all regions: malls or radii have changed."""
        self._reloads += 1
        for known in self._drivers.values():
            known.region = None

    @contextmanager
    def expecting(self, market: str, driver: str) -> Iterator[None]:
        """Treat the driver as one of this node while its hello is under way."""
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

    def connected(self, market: str, driver: str, epoch: int) -> None:
        """Add a driver whose socket is on this node."""
        older = self._drivers.get((market, driver))
        self._sockets[market] += older is None
        fix, fix_s = (older.fix, older.fix_s) if older else (None, 0.0)
        self._drivers[market, driver] = _ConnectedDriver(epoch, fix, fix_s)

    def disconnected(self, market: str, driver: str, epoch: int) -> None:
        """Remove a driver whose socket has closed, unless it has a socket of a newer epoch."""
        known = self._drivers.get((market, driver))
        if known is not None and known.epoch <= epoch:
            del self._drivers[market, driver]
            self._sockets[market] -= 1
            if not self._sockets[market]:
                del self._sockets[market]

    def is_empty(self, market: str) -> bool:
        """Whether no driver of the market has its socket on this node, or is about to."""
        return market not in self._sockets and all(of != market for of, _ in self._expected)

    def last_fix(self, market: str, driver: str) -> tuple[DriverFix | None, int]:
        """Return the last accepted fix of a driver of this node, and its age in milliseconds."""
        known = self._drivers.get((market, driver))
        if known is None or known.fix is None:
            return None, 0
        passed_s = asyncio.get_running_loop().time() - known.fix_s
        return known.fix, int(passed_s * 1000)

    def freed(self, market: str, drivers: Sequence[Freed]) -> None:
        """Wake the malls in reach of drivers who became free, if jobs wait there."""
        # A generator: a market with batch rounds may have hundreds of malls and ignores them.
        malls = (mall for driver in drivers for mall in self._malls(market, driver))
        points = {driver.driver: (driver.lat, driver.lon) for driver in drivers}
        self._rounds.wake_waiting(market, malls, points)

    def moved(
        self,
        market: str,
        located: Sequence[LocatedFix],
        verdicts: Sequence[str],
        *,
        wakes: bool = True,
    ) -> None:
        """Store the accepted fixes and wake the malls that came into reach, if it ``wakes``."""
        new: set[str] = set()
        points: dict[str, tuple[float, float]] = {}
        now_s = asyncio.get_running_loop().time()
        for (fix, region, reloads), verdict in zip(located, verdicts, strict=True):
            known = self._drivers.get((market, fix.driver))
            if known is None or verdict != "ok":
                continue
            known.fix, known.fix_s = fix, now_s
            current = region if reloads == self._reloads else None
            current = current or self._region(market, fix)
            known.region = known.region or current  # it has none since its hello
            malls = current.malls
            if malls is not known.malls and malls != known.malls:
                new.update(newly_in_reach(malls, known.malls))
                points[fix.driver] = (fix.lat, fix.lon)
                known.malls = malls
        if new and wakes:
            self._rounds.wake_waiting(market, new, points)

    def _region(self, market: str, fix: DriverFix) -> SafeRegion:
        known = self._drivers.get((market, fix.driver))
        if known is None:
            return self._region_at(market, fix.lat, fix.lon)
        region = known.region
        if region is None or not region.contains(fix.lat, fix.lon):
            region = known.region = self._region_at(market, fix.lat, fix.lon)
        return region

    def _malls(self, market: str, driver: Freed) -> Collection[str]:
        known = self._drivers.get((market, driver.driver))
        if known is not None and known.region and known.region.contains(driver.lat, driver.lon):
            return known.region.malls
        return self._region_at(market, driver.lat, driver.lon).malls

    def _region_at(self, market: str, lat: float, lon: float) -> SafeRegion:
        policy = self._context.policy(market)
        # A batch covers the whole market: its problem decides which malls a driver can reach.
        reach_m = inf if policy.round == "batch" else policy.max_radius_m
        place = self._context.places.market(market)
        return safe_region_at(place, lat, lon, reach_m=reach_m, at_mall_m=AT_MALL_M)
