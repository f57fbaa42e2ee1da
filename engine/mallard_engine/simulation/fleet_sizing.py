"""Finds the smallest fleet that delivers a day on time, by bisection over simulated days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mallard_engine.simulation.reports.day_statistics import DayStatistics


@dataclass(frozen=True, slots=True)
class FleetSearch:
    """The result of a search.

    Attributes:
        drivers: The smallest fleet that reached the goal; None if the largest did not.
        days: That fleet's days by seed.
        tried: The lowest share of orders on time, in per cent, by fleet.
    """

    drivers: int | None
    days: tuple[DayStatistics, ...] | None
    tried: dict[int, float]

    @property
    def driver_hours(self) -> float | None:
        """The scheduled hours of the smallest fleet, averaged over the seeds."""
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
    """Find the smallest fleet that delivers the goal's share of orders on time with every seed.

    It is assumed that more drivers are never worse. A fleet that fails with one seed is not tried
    with the others.

    Args:
        run: Simulates a day of (drivers, seed).
        goal_percent: The share of orders on time, 0 to 100.
        most: The largest fleet to try.
        step: The fleet is a multiple of it.
        least: Smaller fleets are assumed to fail.
    """
    tried: dict[int, float] = {}
    best: tuple[int, tuple[DayStatistics, ...]] | None = None
    fails, keeps = max(-(-least // step) - 1, 0), -(-most // step) + 1
    while keeps - fails > 1:
        # Try the largest first: if it fails, there is nothing to search.
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
