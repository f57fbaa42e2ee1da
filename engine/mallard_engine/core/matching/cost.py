"""What it costs to give a job to a driver, term by term: this is what ``explain`` shows.

A cost is in seconds of travel time. Travel is what it is; the other terms say how many seconds of
travel a circumstance is worth, by the weights of the market.
"""

from mallard_engine.core.model import Driver, Term
from mallard_engine.core.policy import CostWeights

_DECLINES_HALVE_MS = 3_600_000
_ENOUGH_SLACK = Term("slack", 0.0)
_NO_DECLINES = Term("declines", 0.0)


def driver_terms(driver: Driver, now_ms: int, weights: CostWeights) -> tuple[Term, ...]:
    """The terms that are the driver's own: fairness and reliability."""
    idle_s, declines_s = driver_costs_s(driver, now_ms, weights)
    return Term("idle", idle_s), Term("declines", declines_s) if declines_s else _NO_DECLINES


def driver_costs_s(driver: Driver, now_ms: int, weights: CostWeights) -> tuple[float, float]:
    """The same two as bare figures, for the thousands of whom `explain` shows nothing."""
    idle_s = (now_ms - driver.free_since_ms) / 1000
    idle_s = min(idle_s, weights.idle_limit_s)
    idle_s = -weights.idle * idle_s if idle_s > 0 else 0.0
    if not driver.declines:
        return idle_s, 0.0
    return idle_s, weights.recent_decline_s * _recent_declines(driver, now_ms)


def _recent_declines(driver: Driver, now_ms: int) -> float:
    """The driver's refusals, each of which counts half after an hour."""
    past_ms = max(now_ms - driver.declines_ms, 0)
    return float(driver.declines * 0.5 ** (past_ms / _DECLINES_HALVE_MS))


def slack_term(deadline_ms: int, dropoff_ms: int, weights: CostWeights) -> Term:
    """What a drop-off expected close to the deadline, or after it, costs."""
    short_s = weights.slack_s - (deadline_ms - dropoff_ms) / 1000
    return Term("slack", weights.slack * short_s) if short_s > 0 else _ENOUGH_SLACK
