"""Fairness of earnings: a driver who has earned less than the others in its block is preferred.

If the market weighs earnings, a driver's record has the start of its block, the number of jobs
delivered since and their pay. These give an hourly rate, in money if any pay is known among the
round's drivers, else in jobs, smoothed towards the mean rate by one hour of it, as ten minutes of a
block say little. The term is the relative difference from the mean, limited to ±1.
"""

from collections.abc import Iterable, Sequence

from mallard_engine.core.model import Driver, Term
from mallard_protocol.lifecycle import Wish

_SMOOTHED_BY_H = 1.0
_MS_AN_HOUR = 3_600_000
# A block that has just begun has no rate yet.
_LEAST_MS = 900_000


class Fairness:
    """The rates of one round's drivers.

    `weight_s` is added at twice the mean rate and subtracted at none.
    """

    def __init__(self, drivers: Sequence[Driver], now_ms: int, weight_s: float) -> None:
        self._now_ms = now_ms
        self._weight_s = weight_s
        at_work = [driver for driver in drivers if driver.block_ms]
        self._in_money = any(driver.earned_minor for driver in at_work)
        hours = sum([self._hours(driver) for driver in at_work])
        done = sum([self._done(driver) for driver in at_work])
        self._mean = done / hours if hours else 0.0

    def term(self, driver: Driver) -> Term:
        """Return the term: positive for a driver above the mean rate, at most `weight_s`."""
        if not self._mean or not driver.block_ms:
            return Term("earnings", 0.0)
        rate = (self._done(driver) + self._mean * _SMOOTHED_BY_H) / (
            self._hours(driver) + _SMOOTHED_BY_H
        )
        return Term("earnings", self._weight_s * max(-1.0, min(rate / self._mean - 1, 1.0)))

    def _hours(self, driver: Driver) -> float:
        return max(self._now_ms - driver.block_ms, 0) / _MS_AN_HOUR

    def _done(self, driver: Driver) -> int:
        return driver.earned_minor if self._in_money else driver.done


def gini_of_work(drivers: Iterable[Driver], now_ms: int) -> tuple[float, float]:
    """Return the Gini coefficients of jobs and of pay an hour, 15 minutes into a block or later."""
    at_work = [
        (driver, (now_ms - driver.block_ms) / _MS_AN_HOUR)
        for driver in drivers
        if driver.wish is not Wish.OFFLINE and 0 < driver.block_ms <= now_ms - _LEAST_MS
    ]
    return (
        gini([driver.done / hours for driver, hours in at_work]),
        gini([driver.earned_minor / hours for driver, hours in at_work]),
    )


def gini(values: Sequence[float]) -> float:
    """Return the Gini coefficient: 0 if all values are equal, towards 1 if one has all."""
    total = sum(values)
    if not total:
        return 0.0
    ranked = sorted(values)
    weighted = sum(rank * value for rank, value in enumerate(ranked, start=1))
    return 2 * weighted / (len(values) * total) - (len(values) + 1) / len(values)
