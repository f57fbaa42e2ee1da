"""Selection of a batch's jobs when more are queued than it may plan."""

from typing import Any

from mallard_engine.core.batch.job_selection import JobSelection
from mallard_engine.core.batch.solver import BatchDriver, BatchJob, Plan
from mallard_engine.core.model import Waiting
from mallard_engine.core.places.markets import Places
from tests.engine.core import makers

MALL = Places.load().mall("chandler-fashion-center")
DRIVERS = [BatchDriver(makers.driver(name), MALL.lat, MALL.lon) for name in ("ann", "bob")]


def job(name: str, ready_in_s: int = 0, **need: Any) -> BatchJob:
    ready_ms = makers.NOW_MS + ready_in_s * 1000
    return BatchJob(Waiting(name, 0, makers.need(ready_ms=ready_ms, **need), (), b""), MALL)


def plan(job: BatchJob, driver: BatchDriver) -> Plan:
    return Plan(job, driver.driver.id, depart_ms=0, now=True, ranking=tuple)


def names(jobs: list[BatchJob]) -> str:
    return "".join(job.waiting.job for job in jobs)


def test_all_jobs_that_fit_keep_the_given_order() -> None:
    turn = JobSelection(3)
    assert names(turn.first([job("a", 9), job("b"), job("c", priority=5)])) == "abc"
    assert not turn.left_some_out


def test_urgent_jobs_then_earliest_ready_are_selected() -> None:
    turn = JobSelection(2)
    jobs = [job("a", 30), job("b", 20), job("c", 10), job("d", 60, priority=1)]
    assert names(turn.first(jobs)) == "dc"
    assert turn.left_some_out


def test_job_tried_in_vain_goes_behind_until_all_were_tried() -> None:
    turn = JobSelection(2)
    jobs = [job(name, n) for n, name in enumerate("abcde")]
    tried = []
    for more in (True, True, False):
        now = turn.first(jobs)
        tried.append(names(now))
        assert turn.planned(now, DRIVERS, []) is more
    # The third batch has room for one job that was tried before.
    assert tried == ["ab", "cd", "ea"]
    assert names(turn.first(jobs)) == "ab"


def test_no_job_goes_behind_if_every_driver_is_planned() -> None:
    turn = JobSelection(3)
    jobs = [job(name, n) for n, name in enumerate("abcd")]
    now = turn.first(jobs)
    plans = [plan(now[0], DRIVERS[0]), plan(now[1], DRIVERS[1])]
    assert not turn.planned(now, DRIVERS, plans)
    assert names(turn.first(jobs)) == "abc"
    assert turn.planned(now, DRIVERS, plans[:1])
    assert names(turn.first(jobs)) == "adb"


def test_jobs_no_longer_queued_are_forgotten() -> None:
    turn = JobSelection(1)
    now = turn.first([job("a"), job("b", 1)])
    turn.planned(now, DRIVERS, [])
    assert turn.in_vain == {"a"}
    turn.keep({"b"})
    assert not turn.in_vain
    turn.planned(now, DRIVERS, [])
    turn.first([job("a")])
    assert not turn.in_vain
    assert not turn.left_some_out
