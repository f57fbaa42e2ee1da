"""Arrival by geofence: a holder whose position is at the mall of its job has arrived."""

from collections.abc import Sequence

from mallard_engine.core.places.geofence import GATE_RADIUS_M, Change, Presence, Sighting
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.drivers.driver_reach import DriverReach, LocatedFix
from mallard_engine.dispatch.returns import Returns
from mallard_engine.ports import DriverFix, JobRef, NoSuchDriver, StoreUnavailable

_MAX_ACC_M = 100.0


class GeofenceArrivals:
    """Reports holders at their mall to the storage.

    It reads a driver's jobs once when the driver comes to a mall, and again when it has received a
    job there, but not with every fix.
    """

    def __init__(
        self,
        context: Context,
        apply_effects: ApplyEffects,
        tasks: Tasks,
        reach: DriverReach,
        returns: Returns,
    ) -> None:
        self._context = context
        self._apply_effects = apply_effects
        self._tasks = tasks
        self._reach = reach
        self._returns = returns
        # The drivers of this node near a mall, and those whose jobs have been read.
        self._near: dict[tuple[str, str], Presence] = {}
        self._looked_up: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        return len(self._near.keys() | self._looked_up)

    def moved(self, market: str, located: Sequence[LocatedFix], verdicts: Sequence[str]) -> None:
        """Process the newest fix of each driver that is accepted and accurate enough."""
        newest = {
            each.fix.driver: each
            for each, verdict in zip(located, verdicts, strict=True)
            if verdict == "ok" and each.fix.acc_m <= _MAX_ACC_M
        }
        for driver, (fix, region, _) in newest.items():
            mall = region.at_mall if region is not None else None
            known = self._near.get((market, driver))
            if known is not None and known.mall != mall:
                self._outside(market, fix, known)
            if mall is not None:
                self._inside(market, fix, mall)

    def look_again(self, market: str, driver: str) -> None:
        """Read the driver's jobs again with its next fix at the mall."""
        self._looked_up.discard((market, driver))

    def forget(self, market: str, driver: str) -> None:
        """Forget a driver whose socket has closed."""
        self._near.pop((market, driver), None)
        self.look_again(market, driver)

    def _outside(self, market: str, fix: DriverFix, known: Presence) -> None:
        if known.outside(fix.speed_mps) is Change.LEFT:
            self.look_again(market, fix.driver)
        if known.is_over:
            del self._near[market, fix.driver]

    def _inside(self, market: str, fix: DriverFix, mall: str) -> None:
        key = market, fix.driver
        known = self._near.get(key)
        if known is None:
            known = Presence(mall)
            # A driver who reports over HTTP has no socket here: its jobs are read with every fix.
            if key in self._reach:
                self._near[key] = known
        if known.mall != mall:
            return  # it has not left the other mall yet
        if known.here:
            known.still()
        else:
            known.near(self._sighting(market, fix, mall))
        if known.here and key not in self._looked_up:
            if key in self._near:
                self._looked_up.add(key)
            self._tasks.start(self._look(market, fix, mall), "arrival")

    def _sighting(self, market: str, fix: DriverFix, mall_id: str) -> Sighting:
        mall = self._context.places.market(market).malls[mall_id]
        place_m = mall.place_distance_m(fix.lat, fix.lon, GATE_RADIUS_M)
        return Sighting(fix.at_ms, place_m, *mall.plane.xy(fix.lat, fix.lon), fix.speed_mps)

    async def _look(self, market: str, fix: DriverFix, mall: str) -> None:
        store, driver = self._context.storage, fix.driver
        is_inside = self._context.places.mall(mall).holds(fix.lat, fix.lon)
        try:
            snapshot = await store.drivers.snapshot(market, driver)
            for held in snapshot.driver.jobs:
                if held.mall == mall:
                    ref = JobRef(held.job, mall)
                    self._apply_effects(market, await store.jobs.arrive(ref, driver, held.attempt))
            for job in snapshot.jobs:
                if is_inside:
                    await self._returns.arrived(market, job, mall)
                elif job.return_to and job.return_to.mall == mall:
                    self.look_again(market, driver)  # at the gate: the fence is the outline
        except (NoSuchDriver, StoreUnavailable):
            self.look_again(market, driver)
