"""Who will be free soon: the drivers with a job in their hands, as far as this node has seen.

A batch may plan with them: a job that is better given to a driver who is about to finish waits for
it. This is haste, not truth: a driver whose answers another node took is not known here, and then
its next job is simply found when it is free.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from engine.core.batch import BatchDriver
from engine.core.model import Driver, Job
from engine.dispatch.context import Context

# One that should have been free by now is taken to need this long still, but not for ever.
_OVERDUE_MS = 60_000
_GIVEN_UP_MS = 900_000


@dataclass(frozen=True, slots=True)
class _Run:
    job: str
    mall: str
    driver: Driver
    lat: float
    lon: float
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
            if job.held and job.eta_dropoff_ms is not None:
                self._runs[market, driver.id] = _Run(
                    job.id, job.mall, driver, job.need.lat, job.need.lon, job.eta_dropoff_ms
                )

    def picked_up(self, market: str, driver: str, job: str, now_ms: int) -> None:
        """A parcel is on board: what is left is the way to its door."""
        run = self._runs.get((market, driver))
        if run is None or run.job != job:
            return
        gate = next(iter(self._context.places.mall(run.mall).gates.values()))
        way_s = self._context.travel_time(market).seconds(
            gate.lat, gate.lon, run.lat, run.lon, now_ms
        )
        free_ms = now_ms + int((way_s + self._context.policy(market).dropoff_dwell_s) * 1000)
        self._runs[market, driver] = _Run(run.job, run.mall, run.driver, run.lat, run.lon, free_ms)

    def ended(self, market: str, driver: str) -> None:
        """The driver has nothing in its hands any more, or has left."""
        self._runs.pop((market, driver), None)

    def drivers(self, market: str, now_ms: int) -> list[BatchDriver]:
        """Those who will be free within the market's horizon."""
        given_up_ms = now_ms - _GIVEN_UP_MS
        horizon_ms = now_ms + int(self._context.policy(market).soon_free_s * 1000)
        return [
            BatchDriver(run.driver, run.lat, run.lon, max(run.free_ms, now_ms + _OVERDUE_MS))
            for (at, _), run in self._runs.items()
            if at == market and given_up_ms < run.free_ms <= horizon_ms
        ]
