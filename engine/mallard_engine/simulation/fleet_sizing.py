"""The smallest fleet that keeps a day's promises, by bisection over whole simulated days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mallard_engine.simulation.reports.day_statistics import DayStatistics


@dataclass(frozen=True, slots=True)
class FleetSearch:
    """What was found. ``days``: those of the smallest fleet that kept the goal, by seed; None: not
    even the largest did. ``tried``: every fleet's lowest share of orders in time, in per cent."""

    drivers: int | None
    days: tuple[DayStatistics, ...] | None
    tried: dict[int, float]

    @property
    def driver_hours(self) -> float | None:
        """The scheduled hours of that fleet, averaged over the seeds."""
        if self.days is None:
            return None
        return sum(day.driver_hours for day in self.days) / len(self.days)


def smallest_fleet(
    run: Callable[[int, int], DayStatistics],
    seeds: Sequence[int],
    *,
    goal_percent: float,
    most: int,
    step: int,
    least: int = 0,
) -> FleetSearch:
    """Find the smallest multiple of ``step`` with which every seed's day keeps ``goal_percent`` of
    its orders in time. ``run`` simulates a day: (drivers, seed). More drivers are taken to be no
    worse, fewer than ``least`` to be too few; a fleet that fails with one seed is not tried with
    the others."""
    tried: dict[int, float] = {}
    best: tuple[int, tuple[DayStatistics, ...]] | None = None
    fails, keeps = max(-(-least // step) - 1, 0), -(-most // step) + 1
    while keeps - fails > 1:
        # The largest is looked at first: without it there is nothing to search.
        middle = keeps - 1 if best is None else (fails + keeps) // 2
        drivers = middle * step
        days: list[DayStatistics] = []
        for seed in seeds:
            days.append(run(drivers, seed))
            if days[-1].on_time_percent < goal_percent:
                break
        tried[drivers] = min(day.on_time_percent for day in days)
        if tried[drivers] >= goal_percent:
            keeps, best = middle, (drivers, tuple(days))
        elif best is None:
            break
        else:
            fails = middle
    if best is None:
        return FleetSearch(None, None, tried)
    return FleetSearch(*best, tried)
