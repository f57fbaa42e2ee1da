"""Arrival by geofence: a holder whose position is at the mall of its job has arrived."""

from collections.abc import Sequence

from engine.dispatch.context import Context, Follow, Tasks
from engine.dispatch.reach import Reach
from engine.ports import DriverFix, JobRef, NoSuchDriver, StoreUnavailable

_MAX_ACC_M = 100.0


class Arrivals:
    """Tells the store who is at its mall. What a driver holds is looked up once when it comes to a
    mall, and again when it has accepted something there; not with every fix."""

    def __init__(self, context: Context, follow: Follow, tasks: Tasks, reach: Reach) -> None:
        self._context = context
        self._follow = follow
        self._tasks = tasks
        self._reach = reach
        # The mall at which a driver of this node has been looked up.
        self._at: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self._at)

    def moved(self, market: str, fixes: Sequence[DriverFix], verdicts: Sequence[str]) -> None:
        """Drivers moved; of each the newest fix that is believed and good enough counts."""
        newest = {
            fix.driver: fix
            for fix, verdict in zip(fixes, verdicts, strict=True)
            if verdict == "ok" and fix.acc_m <= _MAX_ACC_M
        }
        for driver, fix in newest.items():
            mall = self._reach.around(market, fix).at_mall
            if mall is None:
                self.look_again(market, driver)
            elif self._at.get((market, driver)) != mall:
                # Who reports over HTTP leaves no trace here, and is looked up with every fix.
                if (market, driver) in self._reach:
                    self._at[market, driver] = mall
                self._tasks.start(self._look(market, driver, mall), "arrival")

    def look_again(self, market: str, driver: str) -> None:
        """The driver has left, or may hold something else now."""
        self._at.pop((market, driver), None)

    async def _look(self, market: str, driver: str, mall: str) -> None:
        store = self._context.store
        try:
            for held in (await store.snapshot(market, driver)).driver.jobs:
                if held.mall == mall:
                    ref = JobRef(held.job, mall)
                    self._follow(market, await store.arrive(ref, driver, held.attempt))
        except (NoSuchDriver, StoreUnavailable):
            self.look_again(market, driver)
