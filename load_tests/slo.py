"""Objectives that a run must meet: ``offer latency:p99<50ms,failures<0.1%``.

A name of the report, a colon, and conditions separated by commas. A condition bounds:

    p50 … p99.99, mean, max     with a time: us, ms or s
    failures                    with a percentage or a plain number of them
    count                       with a plain number: ``count>=1000``

by ``<``, ``<=``, ``>`` or ``>=``. A name without any request misses its objective.
"""

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from load_tests.histograms import Histograms, Latencies

_CONDITION: Final = re.compile(
    r"\s*(?P<what>p\d{1,2}(?:\.\d+)?|p100|mean|max|failures|count)\s*(?P<sign><=|>=|<|>)"
    r"\s*(?P<bound>\d+(?:\.\d+)?)\s*(?P<unit>us|ms|s|%|)\s*",
    re.ASCII,
)
_COMPARE: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MS_PER_UNIT: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class BadObjective(ValueError):
    """An objective cannot be parsed; the message says why."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A bound on one value; times in milliseconds, percentages as shares of 1."""

    text: str
    what: str
    sign: str
    bound: float
    unit: str

    def value(self, latencies: Latencies) -> float:
        """Return the bounded value."""
        match self.what:
            case "failures":
                return latencies.failed_share if self.unit == "%" else latencies.failures
            case "count":
                return latencies.count
            case "mean":
                return latencies.mean_ms
            case "max":
                return latencies.max_ms
            case percentile:
                return latencies.percentile_ms(float(percentile.removeprefix("p")))

    def is_met(self, latencies: Latencies) -> bool:
        """Return whether the value is within the bound."""
        return _COMPARE[self.sign](self.value(latencies), self.bound)

    def shown(self, latencies: Latencies) -> str:
        """Format the value."""
        value = self.value(latencies)
        if self.unit == "%":
            return f"{value:.3%}"
        return f"{value:.2f} ms" if self.unit else f"{value:.0f}"


@dataclass(frozen=True, slots=True)
class Objective:
    """The conditions on one name."""

    name: str
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a condition: the bound and the measured value."""

    name: str
    wanted: str
    seen: str
    met: bool


def parse_objective(text: str) -> Objective:
    """Read ``NAME:CONDITION[,CONDITION…]``. Raises `BadObjective`."""
    name, colon, conditions = text.rpartition(":")
    if not colon or not name.strip():
        raise BadObjective(f"{text!r}: write it as NAME:CONDITION, as in 'offer latency:p99<50ms'")
    return Objective(name.strip(), tuple(map(_condition, conditions.split(","))))


def judge(objectives: Iterable[Objective], histograms: Histograms) -> list[Verdict]:
    """Evaluate each condition of each objective."""
    verdicts = []
    for objective in objectives:
        latencies = histograms[objective.name]
        for condition in objective.conditions:
            seen = condition.shown(latencies) if latencies.count else "no request"
            met = latencies.count > 0 and condition.is_met(latencies)
            verdicts.append(Verdict(objective.name, condition.text, seen, met))
    return verdicts


def _condition(text: str) -> Condition:
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise BadObjective(f"{text!r} is no condition such as p99<50ms, failures<0.1% or count>=10")
    what, sign, bound, unit = found.group("what", "sign", "bound", "unit")
    known = {"failures": ("%", ""), "count": ("",)}.get(what, tuple(_MS_PER_UNIT))
    if unit not in known:
        choice = " or ".join(known) if any(known) else "no unit"
        raise BadObjective(f"{text!r}: {what} takes {choice.strip()}")
    factor = 0.01 if unit == "%" else _MS_PER_UNIT.get(unit, 1.0)
    return Condition(text.strip(), what, sign, float(bound) * factor, unit)
