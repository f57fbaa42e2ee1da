"""Filters queued jobs to those that at least one driver here could take.

A plan considers a bounded number of jobs. Jobs that no vehicle here can carry, or whose every
driver has been asked before, must not use up that number.
"""

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from mallard_engine.core.matching.patience import barred_by
from mallard_engine.core.model import Driver, Waiting
from mallard_engine.core.policy import MarketPolicy

T = TypeVar("T")


def servable(
    items: Iterable[T],
    waiting: Callable[[T], Waiting],
    drivers: Collection[Driver],
    now_ms: int,
    policy: MarketPolicy,
) -> list[T]:
    """Return the items whose job at least one driver could take.

    A driver could take a job if it fits into the empty vehicle and the driver may be asked.

    Args:
        items: What is filtered.
        waiting: Returns an item's job.
        drivers: The drivers to check.
        now_ms: The present in epoch milliseconds.
        policy: The market's policy.
    """
    vehicles = {driver.vehicle for driver in drivers}
    # Cached by demand, as there are few different ones.
    verdicts: dict[str, bool] = {}
    fitting = []
    for item in items:
        job = waiting(item)
        if job.asked:
            barred = barred_by(job.asked, job.need.expires_ms, now_ms, policy)
            free = {driver.vehicle for driver in drivers if driver.id not in barred}
            is_fit = any(vehicle.fits(job.need) for vehicle in free)
        else:
            demand = job.need.demand
            if not demand or demand not in verdicts:
                verdicts[demand] = any(vehicle.fits(job.need) for vehicle in vehicles)
            is_fit = verdicts[demand]
        if is_fit:
            fitting.append(item)
    return fitting
