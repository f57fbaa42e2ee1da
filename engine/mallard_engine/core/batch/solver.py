"""Jobs × drivers of a whole market as one assignment problem.

The cost of a pair, in seconds: the lateness of the pickup after the parcel is ready (weighted more
for a job that has waited), the driver's travel, its wait for the parcel and the time until it is
free, then the driver's own terms and the slack to the deadline, as in an instant round. The sum
over all pairs is minimised (Jonker and Volgenant's algorithm, through scipy). A driver may be
planned for a second job after its first: jobs are assigned in waves by their ready times, so that a
job that is ready later does not take a driver from one that is ready now. Where a driver may take
several jobs, some are planned as one unit; see `bundling`.

A plan commits no driver: it says when the driver must set off, and whether it is free.
"""

from collections.abc import Sequence

from mallard_engine.core.batch.bundling import DRIVER_VALUES, Bundler, Unit
from mallard_engine.core.batch.cost_matrix import LEFT_OVER_S, Pairs, Table
from mallard_engine.core.batch.drivers import Fleet
from mallard_engine.core.batch.problem import BatchDriver, BatchJob, Plan
from mallard_engine.core.matching.acceptance import part_of_day
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.pickup.pickup_plan import ServiceTime, tour_when_ready
from mallard_engine.core.policy import MarketPolicy

__all__ = ["BatchDriver", "BatchJob", "Plan", "solve"]

# The length of a wave in each alternative plan, as a multiple of the policy's `wave_s`.
_WAVE_SHARES = (1.0, 0.75, 0.5, 1.5)


def solve(
    jobs: Sequence[BatchJob],
    drivers: Sequence[BatchDriver],
    now_ms: int,
    policy: MarketPolicy,
    travel: TravelTime,
    service_time: ServiceTime | None = None,
) -> list[Plan]:
    """Return a plan for each job for which there is a driver.

    Args:
        jobs: The jobs to plan.
        drivers: The drivers, free now or later.
        now_ms: The present in epoch milliseconds.
        policy: The market's policy.
        travel: The source of travel times.
        service_time: Service times at the stores; None: the policy's `store_dwell_s` everywhere.

    Raises:
        KeyError: A job names a store that its mall does not have, even if there are no drivers.
    """
    at_store = service_time or (lambda _mall, _store: policy.store_dwell_s)
    # Before the early return: an unknown store is an error also without drivers.
    tours = {
        job.waiting.job: tour_when_ready(job.mall, job.waiting.need, at_store, now_ms)
        for job in jobs
    }
    if not jobs or not drivers:
        return []
    part = part_of_day(now_ms, jobs[0].mall.time_zone)
    bundler = Bundler(jobs, tours, now_ms, policy, travel, at_store)
    fleet = Fleet(drivers, [unit.gate for unit in bundler.alone], now_ms, part, policy, travel)
    best = _assign(bundler.alone, bundler, fleet.fresh(), now_ms, policy.wave_s, policy)
    # If no job is late or left over, another plan has nothing to gain.
    if best.is_late:
        for share in _WAVE_SHARES[1 : policy.deals]:
            wave_s = share * policy.wave_s
            other = _assign(bundler.alone, bundler, fleet.fresh(), now_ms, wave_s, policy)
            best = min(best, other, key=_Alternative.sum_s)
        for value in DRIVER_VALUES if bundler.can_bundle else ():
            units = bundler.units(value)
            other = _assign(units, bundler, fleet.fresh(), now_ms, policy.wave_s, policy)
            best = min(best, other, key=_Alternative.sum_s)
    return best.plans()


class _Alternative:
    """One alternative plan: the pairs of each wave and their cost."""

    def __init__(self, jobs: int) -> None:
        self._waves: list[tuple[Table, Pairs, list[bool]]] = []
        self._left = jobs
        self._cost_s = self._late_s = 0.0

    @property
    def is_late(self) -> bool:
        """Whether some pickup would be late, or some job is left over."""
        return self._left > 0 or self._late_s > 0

    def sum_s(self) -> float:
        """Return the total cost, including the jobs that are left over."""
        return LEFT_OVER_S * self._left + self._cost_s

    def add(self, table: Table, pairs: Pairs, is_next: list[bool]) -> None:
        """Add a wave. `is_next`: whether each pair's driver is free now and has no earlier job."""
        count, cost_s, late_s = table.sums(pairs)
        self._waves.append((table, pairs, is_next))
        self._left -= count
        self._cost_s += cost_s
        self._late_s += late_s

    def plans(self) -> list[Plan]:
        """Return the pairs of all waves as plans."""
        waves = self._waves
        return [plan for table, pairs, now in waves for plan in table.plans(pairs, now)]


def _assign(
    units: Sequence[Unit],
    bundler: Bundler,
    fleet: Fleet,
    now_ms: int,
    wave_s: float,
    policy: MarketPolicy,
) -> _Alternative:
    """Assign the units in waves, each wave at its least cost."""
    plan = _Alternative(len(bundler.alone))
    left = list(units)
    for wave in range(1, policy.waves + 1):
        until_ms = now_ms + wave * wave_s * 1000
        last = wave == policy.waves
        turn = [unit for unit in left if last or unit.ready_ms <= until_ms]
        if not turn:
            continue
        table = Table(turn, fleet, now_ms, policy)
        if pairs := table.pairs():
            plan.add(table, pairs, [fleet.is_next(column) for _, column in pairs])
        if last:
            break
        planned = {id(turn[row]) for row, _ in pairs}
        left = [unit for unit in left if unit.ready_ms > until_ms]
        # A bundle that got no driver is split for the next wave.
        left += [one for unit in turn if id(unit) not in planned for one in bundler.apart(unit)]
        if not left:
            break
        if pairs:
            table.send(pairs)
    return plan
