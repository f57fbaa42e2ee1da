"""How many stops a driver makes before the next one of a job."""

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from mallard_engine.core.model import Job
from mallard_engine.core.tracking import stops_before
from mallard_protocol.lifecycle import JobState


@dataclass
class Stub:
    """What the rule reads of a job; `left`: one of its two stores is still to be visited."""

    id: str
    state: JobState
    eta_pickup_ms: int | None = None
    eta_dropoff_ms: int | None = None
    mall: str = "m1"
    left: bool = False
    need: Any = field(init=False)

    def __post_init__(self) -> None:
        done = ("a",) if self.left else ()
        self.need = type("Need", (), {"done": done, "stores": ("a", "b")})


def before(*jobs: Stub) -> dict[str, int]:
    every = cast("tuple[Job, ...]", jobs)
    return {job.id: stops_before(job, every) for job in every}


ASSIGNED, AT_MALL, ON_BOARD = JobState.ASSIGNED, JobState.AT_MALL, JobState.PICKED_UP


@pytest.mark.parametrize("state", [ASSIGNED, AT_MALL, ON_BOARD, JobState.RETURNING])
def test_only_job_is_the_next_stop(state: JobState) -> None:
    assert before(Stub("a", state)) == {"a": 0}


def test_jobs_of_one_mall_are_one_stop() -> None:
    assert before(Stub("a", ASSIGNED), Stub("b", AT_MALL)) == {"a": 0, "b": 0}


def test_malls_come_in_the_order_of_their_times() -> None:
    jobs = Stub("a", ASSIGNED, 20, mall="m2"), Stub("b", ASSIGNED, 10), Stub("c", ASSIGNED)
    assert before(*jobs) == {"a": 1, "b": 0, "c": 0}


def test_what_is_on_board_waits_for_the_rest_of_the_mall() -> None:
    jobs = Stub("a", ON_BOARD, 1, 50), Stub("b", AT_MALL, 2, 40), Stub("c", ON_BOARD, 1, 45)
    assert before(*jobs) == {"a": 2, "b": 0, "c": 1}


def test_job_with_a_store_left_is_at_the_mall() -> None:
    assert before(Stub("a", ON_BOARD, 1, 40, left=True), Stub("b", ON_BOARD, 1, 30)) == {
        "a": 0,
        "b": 1,
    }


def test_drop_offs_are_in_the_order_of_their_times() -> None:
    jobs = Stub("a", ON_BOARD, 1, 50), Stub("b", ON_BOARD, 1, 40), Stub("c", ON_BOARD)
    assert before(*jobs) == {"a": 1, "b": 0, "c": 2}


def test_parcels_that_go_back_are_the_last_stop() -> None:
    jobs = Stub("a", JobState.RETURNING, 1, 10), Stub("b", ON_BOARD, 1, 40)
    assert before(*jobs) == {"a": 1, "b": 0}
