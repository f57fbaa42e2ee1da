"""Jobs × drivers of a whole market as one assignment problem.

What a pair costs, in seconds: how late the pickup would be after the parcel is ready (more for a
job that has waited already), and, as the driver's time is worth something too, its way there, its
wait for the parcel and the time until it is free; then the driver's own terms and the slack to the
deadline, as in an instant round. The sum over all pairs is least (Jonker and Volgenant's algorithm,
through scipy). A driver may be planned for a second job after its first: jobs are dealt out in
waves by the time at which they are ready, so that one which is ready later does not keep a driver
from one that is ready now. Where a market lets a driver take several jobs, some are planned as one:
see `bundles`.

Nothing here commits anybody: a plan says when its driver must set off, and whether it is free.
"""

from collections.abc import Sequence

from mallard_engine.core.batch.bundling import WORTHS, Bundler, Unit
from mallard_engine.core.batch.cost_matrix import LEFT_OVER_S, Pairs, Table
from mallard_engine.core.batch.drivers import Fleet
from mallard_engine.core.batch.problem import BatchDriver, BatchJob, Plan
from mallard_engine.core.matching.acceptance import part_of_day
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.pickup.pickup_plan import ServiceTime, tour_when_ready
from mallard_engine.core.policy import MarketPolicy

__all__ = ["BatchDriver", "BatchJob", "Plan", "solve"]

# The waves of each way to deal jobs out, over a market's `wave_s`.
_WAVE_SHARES = (1.0, 0.75, 0.5, 1.5)


def solve(
    jobs: Sequence[BatchJob],
    drivers: Sequence[BatchDriver],
    now_ms: int,
    policy: MarketPolicy,
    travel: TravelTime,
    service_time: ServiceTime | None = None,
) -> list[Plan]:
    """A plan for each job that there is a driver for; the rest wait on.

    :raises KeyError: for a job that names a store which its mall does not have
    """
    at_store = service_time or (lambda _mall, _store: policy.store_dwell_s)
    # A job that cannot be is told, also when there is no driver.
    tours = {
        job.waiting.job: tour_when_ready(job.mall, job.waiting.need, at_store, now_ms)
        for job in jobs
    }
    if not jobs or not drivers:
        return []
    part = part_of_day(now_ms, jobs[0].mall.time_zone)
    bundler = Bundler(jobs, tours, now_ms, policy, travel)
    fleet = Fleet(drivers, [unit.gate for unit in bundler.alone], now_ms, part, policy, travel)
    best = _deal(bundler.alone, bundler, fleet.fresh(), now_ms, policy.wave_s, policy)
    # Where nobody would wait, there is nothing that another way could gain.
    if best.is_late:
        for share in _WAVE_SHARES[1 : policy.deals]:
            wave_s = share * policy.wave_s
            deal = _deal(bundler.alone, bundler, fleet.fresh(), now_ms, wave_s, policy)
            best = min(best, deal, key=_Deal.sum_s)
        for worth in WORTHS if bundler.can_bundle else ():
            units = bundler.units(worth)
            deal = _deal(units, bundler, fleet.fresh(), now_ms, policy.wave_s, policy)
            best = min(best, deal, key=_Deal.sum_s)
    return best.plans()


class _Deal:
    """The jobs dealt out in one way: the waves' pairs, and what they cost."""

    def __init__(self, jobs: int) -> None:
        self._waves: list[tuple[Table, Pairs, list[bool]]] = []
        self._left = jobs
        self._cost_s = self._late_s = 0.0

    @property
    def is_late(self) -> bool:
        """Whether some customer would wait, or some job is left over."""
        return self._left > 0 or self._late_s > 0

    def sum_s(self) -> float:
        """What it all costs, with the jobs that are left over."""
        return LEFT_OVER_S * self._left + self._cost_s

    def add(self, table: Table, pairs: Pairs, is_next: list[bool]) -> None:
        """One more wave. ``is_next``: whether each pair's driver is free now and has no job
        before."""
        count, cost_s, late_s = table.sums(pairs)
        self._waves.append((table, pairs, is_next))
        self._left -= count
        self._cost_s += cost_s
        self._late_s += late_s

    def plans(self) -> list[Plan]:
        """The pairs as plans."""
        waves = self._waves
        return [plan for table, pairs, now in waves for plan in table.plans(pairs, now)]


def _deal(
    units: Sequence[Unit],
    bundler: Bundler,
    fleet: Fleet,
    now_ms: int,
    wave_s: float,
    policy: MarketPolicy,
) -> _Deal:
    """The units dealt out in waves, each of them at its least cost."""
    deal = _Deal(len(bundler.alone))
    left = list(units)
    for wave in range(1, policy.waves + 1):
        until_ms = now_ms + wave * wave_s * 1000
        last = wave == policy.waves
        turn = [unit for unit in left if last or unit.ready_ms <= until_ms]
        if not turn:
            continue
        table = Table(turn, fleet, now_ms, policy)
        if pairs := table.pairs():
            deal.add(table, pairs, [fleet.is_next(column) for _, column in pairs])
        if last:
            break
        planned = {id(turn[row]) for row, _ in pairs}
        left = [unit for unit in left if unit.ready_ms > until_ms]
        # A bundle for which there was nobody is no bundle in the next wave.
        left += [one for unit in turn if id(unit) not in planned for one in bundler.apart(unit)]
        if not left:
            break
        if pairs:
            table.send(pairs)
    return deal
