"""Who will be free soon: the drivers with a job in their hands, as far as this node has seen.

A batch may plan with them: a job that is better given to a driver who is about to finish waits for
it. This is haste, not truth: a driver whose answers another node took is not known here, and then
its next job is simply found when it is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mallard_engine.core.batch.solver import BatchDriver
from mallard_engine.core.model import Driver, Job
from mallard_engine.dispatch.context import Context

# One that should have been free for so long already is taken to need this long still, but not for
# ever. Before that it is about to be: nobody is passed over for news that is under way.
_ABOUT_TO_BE_MS = 5_000
_OVERDUE_MS = 60_000
_GIVEN_UP_MS = 900_000


@dataclass(frozen=True, slots=True)
class _Run:
    """``haul_ms``: from the parcel to the door and handed over, as was reckoned with the offer."""

    job: str
    driver: Driver
    lat: float
    lon: float
    haul_ms: int
    free_ms: int


class Finishing:
    """The runs under way of the markets that plan with them (rounds in batches)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._runs: dict[tuple[str, str], _Run] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def accepted(self, market: str, driver: Driver, jobs: Sequence[Job]) -> None:
        """A driver has taken jobs on."""
        policy = self._context.policy(market)
        if policy.round != "batch" or not policy.soon_free_s:
            return
        for job in jobs:
            pickup_ms, dropoff_ms = job.eta_pickup_ms, job.eta_dropoff_ms
            if job.held and pickup_ms is not None and dropoff_ms is not None:
                haul_ms = dropoff_ms - pickup_ms
                self._runs[market, driver.id] = _Run(
                    job.id, driver, job.need.lat, job.need.lon, haul_ms, dropoff_ms
                )

    def picked_up(self, market: str, driver: str, job: str, now_ms: int) -> None:
        """A parcel is on board: what is left is the way to its door."""
        run = self._runs.get((market, driver))
        if run is not None and run.job == job:
            self._runs[market, driver] = replace(run, free_ms=now_ms + run.haul_ms)

    def ended(self, market: str, driver: str) -> None:
        """The driver has nothing in its hands any more, or has left."""
        self._runs.pop((market, driver), None)

    def drivers(self, market: str, now_ms: int) -> list[BatchDriver]:
        """Those who will be free within the market's horizon."""
        given_up_ms = now_ms - _GIVEN_UP_MS
        horizon_ms = now_ms + int(self._context.policy(market).soon_free_s * 1000)
        return [
            BatchDriver(run.driver, run.lat, run.lon, _free_ms(run, now_ms))
            for (at, _), run in self._runs.items()
            if at == market and given_up_ms < run.free_ms <= horizon_ms
        ]


def _free_ms(run: _Run, now_ms: int) -> int:
    """From when a driver may be planned with."""
    is_overdue = run.free_ms < now_ms - _ABOUT_TO_BE_MS
    return now_ms + _OVERDUE_MS if is_overdue else max(run.free_ms, now_ms)
