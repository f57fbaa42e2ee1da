"""Drivers who will be free soon: on a run that ends soon, or with a block that begins soon.

A batch plans with them, so that a job may wait for a driver who will be nearer. Each node knows
only the runs whose acceptance it has processed. The drivers of other nodes' runs get their next job
once they are free.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mallard_engine.core.batch.solver import BatchDriver
from mallard_engine.core.model import Driver, Job
from mallard_engine.dispatch.context import Context
from mallard_protocol.lifecycle import Wish

# A run that is overdue by at most this counts as ended, as the report may be on its way. After that
# its driver is expected to be free `_OVERDUE_MS` from now.
_REPORT_DELAY_MS = 5_000
_OVERDUE_MS = 60_000
# A run that is overdue by more than this is left out.
_LEFT_OUT_MS = 900_000


@dataclass(frozen=True, slots=True)
class Block:
    """A driver's block, and where the driver is expected to begin it."""

    driver: str
    lat: float
    lon: float
    on_ms: int
    off_ms: int


@dataclass(frozen=True, slots=True)
class _Run:
    """The last job of a driver. ``haul_ms``: from pickup to the end of the drop-off, as offered."""

    job: str
    driver: Driver
    lat: float
    lon: float
    haul_ms: int
    free_ms: int


class UpcomingDrivers:
    """The drivers of all markets with batch rounds who will be free soon."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._runs: dict[tuple[str, str], _Run] = {}
        # By market, in descending order of their beginning.
        self._blocks: dict[str, list[Block]] = {}

    def __len__(self) -> int:
        """The number of runs and blocks in memory."""
        return len(self._runs) + sum(map(len, self._blocks.values()))

    def expect(self, market: str, blocks: Iterable[Block]) -> None:
        """Replace the future blocks of a market."""
        self._blocks[market] = sorted(blocks, key=lambda block: (-block.on_ms, block.driver))

    def accepted(self, market: str, driver: Driver, jobs: Sequence[Job]) -> None:
        """Note that a driver has accepted jobs."""
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
        """Note a pickup: only the drop-off remains."""
        run = self._runs.get((market, driver))
        if run is not None and run.job == job:
            self._runs[market, driver] = replace(run, free_ms=now_ms + run.haul_ms)

    def ended(self, market: str, driver: str) -> None:
        """Note that a driver no longer holds a job, or has disconnected."""
        self._runs.pop((market, driver), None)

    def drivers(self, market: str, now_ms: int) -> list[BatchDriver]:
        """Return the drivers who will be free within the market's horizons."""
        return [*self._finishing(market, now_ms), *self._starting(market, now_ms)]

    def _finishing(self, market: str, now_ms: int) -> list[BatchDriver]:
        left_out_ms = now_ms - _LEFT_OUT_MS
        horizon_ms = now_ms + int(self._context.policy(market).soon_free_s * 1000)
        return [
            BatchDriver(run.driver, run.lat, run.lon, _free_ms(run, now_ms))
            for (at, _), run in self._runs.items()
            if at == market and left_out_ms < run.free_ms <= horizon_ms
        ]

    def _starting(self, market: str, now_ms: int) -> list[BatchDriver]:
        blocks = self._blocks.get(market)
        if not blocks:
            return []
        while blocks and blocks[-1].on_ms <= now_ms:
            blocks.pop()
        horizon_ms = now_ms + int(self._context.policy(market).soon_on_s * 1000)
        starting = []
        for block in reversed(blocks):
            if block.on_ms > horizon_ms:
                break
            driver = Driver(id=block.driver, wish=Wish.OFFLINE, until_ms=block.off_ms)
            starting.append(BatchDriver(driver, block.lat, block.lon, block.on_ms))
        return starting


def _free_ms(run: _Run, now_ms: int) -> int:
    """Return from when a batch may plan with the driver of a run (epoch ms)."""
    is_overdue = run.free_ms < now_ms - _REPORT_DELAY_MS
    return now_ms + _OVERDUE_MS if is_overdue else max(run.free_ms, now_ms)
