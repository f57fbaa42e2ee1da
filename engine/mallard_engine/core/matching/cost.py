"""The cost of assigning a job to a driver, term by term, as `explain` shows it.

A cost is in seconds of travel time: the travel itself, and terms that convert other circumstances
into seconds by the weights of the market.
"""

from mallard_engine.core.model import Driver, Term
from mallard_engine.core.policy import CostWeights

_DECLINES_HALVE_MS = 3_600_000
_ENOUGH_SLACK = Term("slack", 0.0)
_NO_DECLINES = Term("declines", 0.0)


def driver_terms(driver: Driver, now_ms: int, weights: CostWeights) -> tuple[Term, ...]:
    """Return the terms that depend only on the driver: idle time and recent declines."""
    idle_s, declines_s = driver_costs_s(driver, now_ms, weights)
    return Term("idle", idle_s), Term("declines", declines_s) if declines_s else _NO_DECLINES


def driver_costs_s(driver: Driver, now_ms: int, weights: CostWeights) -> tuple[float, float]:
    """Return the values of those terms, without `Term` objects, which batches do not need."""
    idle_s = (now_ms - driver.free_since_ms) / 1000
    idle_s = min(idle_s, weights.idle_limit_s)
    idle_s = -weights.idle * idle_s if idle_s > 0 else 0.0
    if not driver.declines:
        return idle_s, 0.0
    return idle_s, weights.recent_decline_s * _recent_declines(driver, now_ms)


def _recent_declines(driver: Driver, now_ms: int) -> float:
    """Return the number of recent refusals, with a half-life of an hour."""
    past_ms = max(now_ms - driver.declines_ms, 0)
    return float(driver.declines * 0.5 ** (past_ms / _DECLINES_HALVE_MS))


def slack_term(deadline_ms: int, dropoff_ms: int, weights: CostWeights) -> Term:
    """Return the cost of a drop-off that is expected close to its deadline or after it."""
    short_s = weights.slack_s - (deadline_ms - dropoff_ms) / 1000
    return Term("slack", weights.slack * short_s) if short_s > 0 else _ENOUGH_SLACK
