"""Raises the rate of orders until an objective is missed, and narrows down the knee."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from load_tests.credentials import Credentials
from load_tests.meters import Meters, Reading, Usage, usage
from load_tests.slo import Objective, Verdict, judge
from load_tests.swarm.coordinator import PhaseProgress, Swarm
from load_tests.swarm.plan import BadPlan, SwarmPlan
from load_tests.swarm.result import SwarmResult

# The queue of a rate that was too high must drain before the next.
_RECOVERED_WITHIN_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class RampPlan:
    """Rates to try: from `first` on, each `factor` times the last, to `last` at most.

    After a missed objective, `halvings` more rates narrow down the interval between the highest
    that met all and the lowest that did not. Raises `BadPlan`.
    """

    first: float = 20.0
    factor: float = 1.5
    last: float = 2000.0
    halvings: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.last:
            raise BadPlan(f"the ramp goes from {self.first:g} to {self.last:g} orders a second")
        if not 1.01 <= self.factor <= 100:
            raise BadPlan(f"the ramp's factor is {self.factor:g}: it goes from 1.01 to 100")
        if not 0 <= self.halvings <= 10:
            raise BadPlan(f"the ramp has {self.halvings} halvings: from 0 to 10")


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one rate: measures, use, and verdicts."""

    result: SwarmResult
    usage: Usage
    verdicts: tuple[Verdict, ...]

    @property
    def rate(self) -> float:
        """Orders a second."""
        return self.result.rate

    @property
    def met(self) -> bool:
        """Whether every objective was met."""
        return all(verdict.met for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {
            **self.result.to_json(),
            "usage": self.usage.to_json(),
            "met": self.met,
            "objectives": [dataclasses.asdict(verdict) for verdict in self.verdicts],
        }


def knee(steps: Sequence[Step]) -> float | None:
    """Return the highest rate below every rate that missed an objective; None without one."""
    broken = min((step.rate for step in steps if not step.met), default=float("inf"))
    return max((step.rate for step in steps if step.met and step.rate < broken), default=None)


def next_rate(ramp: RampPlan, steps: Sequence[Step]) -> float | None:
    """Return the next rate to try; None if the knee is known closely enough."""
    if not steps:
        return ramp.first
    broken = [step.rate for step in steps if not step.met]
    if not broken:
        highest = max(step.rate for step in steps)
        return min(highest * ramp.factor, ramp.last) if highest < ramp.last else None
    first_broken = next(number for number, step in enumerate(steps) if not step.met)
    below = knee(steps)
    if below is None or len(steps) - first_broken > ramp.halvings:
        return None
    return (below + min(broken)) / 2


async def climb(
    plan: SwarmPlan,
    ramp: RampPlan,
    credentials: Credentials,
    meters: Meters,
    objectives: Sequence[Objective],
    watch: Callable[[float, PhaseProgress], None] | None = None,
) -> AsyncIterator[Step]:
    """Yield the steps of a ramp as they end. Each rate takes the plan's `warm_s` and `seconds`.

    Raises `SwarmFailed`.
    """
    readings = [meters.opening, meters.closing]

    async def edge() -> Reading:
        reading = readings[0]()
        readings.reverse()
        return reading

    steps: list[Step] = []
    async with Swarm(plan, credentials) as swarm:
        while (rate := next_rate(ramp, steps)) is not None:
            if steps and not steps[-1].met:
                await swarm.drain(_RECOVERED_WITHIN_S)

            def look(progress: PhaseProgress, rate: float = rate) -> None:
                if watch:
                    watch(rate, progress)

            result = await swarm.phase(
                rate=rate, seconds=plan.seconds, warm_s=plan.warm_s, watch=look, edge=edge
            )
            used = usage(*result.edges)
            steps.append(Step(result, used, tuple(judge(objectives, result.histograms))))
            yield steps[-1]
