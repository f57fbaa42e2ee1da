"""Solves a batch without blocking the event loop."""

import asyncio
from collections.abc import Sequence
from importlib import import_module

from mallard_engine.core.batch.solver import BatchDriver, BatchJob, Plan, solve
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.pickup.pickup_plan import ServiceTime
from mallard_engine.core.policy import MarketPolicy

IN_A_THREAD_FROM = 2_000
"""From this many pairs on, a problem takes more than a millisecond and is solved in a thread."""


def load_solver() -> None:
    """Load what the first batch would load, which takes a third of a second."""
    import_module("scipy.optimize")


async def solved(
    jobs: Sequence[BatchJob],
    drivers: Sequence[BatchDriver],
    now_ms: int,
    policy: MarketPolicy,
    travel: TravelTime,
    service_time: ServiceTime | None = None,
    *,
    may_thread: bool = True,
) -> list[Plan]:
    """See :func:`mallard_engine.core.batch.solver.solve`. Solves a large problem in a thread."""
    if may_thread and len(jobs) * len(drivers) >= IN_A_THREAD_FROM:
        return await asyncio.to_thread(solve, jobs, drivers, now_ms, policy, travel, service_time)
    return solve(jobs, drivers, now_ms, policy, travel, service_time)
