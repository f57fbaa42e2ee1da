"""Which waiting jobs some driver here could take at all.

A plan has room for a bounded number of jobs. Those that no vehicle here can carry, or whose every
driver has been asked before, must not use up that room.
"""

from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from mallard_engine.core.matching.ranking import barred_by
from mallard_engine.core.model import Driver, Waiting

T = TypeVar("T")


def servable(
    items: Iterable[T],
    waiting: Callable[[T], Waiting],
    drivers: Collection[Driver],
    now_ms: int,
    unreachable_s: float,
) -> list[T]:
    """The items whose job (``waiting``) some driver could take: by weight, volume and equipment of
    an empty vehicle, and not asked for it before."""
    vehicles = {driver.vehicle for driver in drivers}
    # Few demands are different: each is compared once.
    verdicts: dict[str, bool] = {}
    fitting = []
    for item in items:
        job = waiting(item)
        if job.asked:
            barred = barred_by(job.asked, now_ms, unreachable_s)
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
