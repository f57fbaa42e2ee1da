"""Large batches are solved in a thread with equal plans; a simulation uses no threads."""

import asyncio
import random
import threading

import pytest

from load_tests.benchmarks.engine.decisions import NOW_MS, random_batch
from mallard_engine.core.batch.solver import solve
from mallard_engine.core.matching.travel_time import StraightLine
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.dispatch.rounds.batch import solver_thread

POLICY = MarketPolicy(round="batch")
TRAVEL = StraightLine(POLICY.circuity, POLICY.speed_mps)


@pytest.mark.parametrize(
    ("jobs", "may_thread", "in_thread"), [(50, True, True), (50, False, False), (2, True, False)]
)
def test_large_batch_is_solved_in_a_thread_if_allowed(
    jobs: int, may_thread: bool, in_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = random_batch(random.Random(1), jobs, 100)
    in_threads: list[bool] = []

    def recorded_solve(*args: object) -> object:
        in_threads.append(threading.current_thread() is not threading.main_thread())
        return solve(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(solver_thread, "solve", recorded_solve)
    plans = asyncio.run(
        solver_thread.solved(*problem, NOW_MS, POLICY, TRAVEL, may_thread=may_thread)
    )
    assert in_threads == [in_thread]
    here = solve(*problem, NOW_MS, POLICY, TRAVEL)
    assert plans == here
    assert [plan.ranking() for plan in plans] == [plan.ranking() for plan in here]
    assert len(plans) == jobs
