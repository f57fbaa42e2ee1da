"""Fair work: who has earned less than the others in its block comes sooner.

A driver's record carries, where the market weighs it, when its block began, how many jobs it has
delivered since and what they paid. From that an hourly rate, in money where any pay is known among
the drivers of the round and in jobs where none is, smoothed towards their mean by an hour of it:
ten minutes into a block say little. The term is what the rate differs from the mean, as a share of
it, within one.
"""

from collections.abc import Iterable, Sequence

from mallard_engine.core.model import Driver, Term
from mallard_protocol.lifecycle import Wish

_SMOOTHED_BY_H = 1.0
_MS_AN_HOUR = 3_600_000
# A block that has just begun has no rate yet.
_LEAST_MS = 900_000


class Fairness:
    """The rates of the drivers of one round. ``weight_s``: what it costs to be at twice the mean,
    and what is taken off at nothing."""

    def __init__(self, drivers: Sequence[Driver], now_ms: int, weight_s: float) -> None:
        self._now_ms = now_ms
        self._weight_s = weight_s
        at_work = [driver for driver in drivers if driver.block_ms]
        self._in_money = any(driver.earned_minor for driver in at_work)
        hours = sum([self._hours(driver) for driver in at_work])
        done = sum([self._done(driver) for driver in at_work])
        self._mean = done / hours if hours else 0.0

    def term(self, driver: Driver) -> Term:
        """Seconds: above 0 for who earns more than the mean, within the weight."""
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
    """The Gini coefficients of jobs and of pay an hour, of drivers at work for some while."""
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
    """The Gini coefficient: 0 when all have the same, towards 1 when one has all."""
    total = sum(values)
    if not total:
        return 0.0
    ranked = sorted(values)
    weighted = sum(rank * value for rank, value in enumerate(ranked, start=1))
    return 2 * weighted / (len(values) * total) - (len(values) + 1) / len(values)
