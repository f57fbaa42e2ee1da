"""Pickup plans: service times of stores, and one tour for several jobs."""

from dataclasses import replace

import pytest

from mallard_engine.core.pickup.pickup_plan import job_tour, run_tour, service_times
from tests.engine.core.makers import MALL, NOW_MS, need

SLOW = replace(MALL.stores["lego"], handover_s=300)
WITH_SLOW_COUNTER = replace(MALL, stores={**MALL.stores, "lego": SLOW})
SERVICE_TIME = service_times({MALL.id: WITH_SLOW_COUNTER}.__getitem__, 120.0)


def test_service_time_comes_from_the_places_file() -> None:
    assert SERVICE_TIME(MALL.id, "lego") == 300
    assert SERVICE_TIME(MALL.id, "apple") == 120
    slow, usual = (
        job_tour(WITH_SLOW_COUNTER, need(), service_time, NOW_MS)
        for service_time in (SERVICE_TIME, lambda _mall, _store: 120.0)
    )
    assert slow.collect_ms - usual.collect_ms == 180_000
    with pytest.raises(KeyError):
        SERVICE_TIME(MALL.id, "nowhere")


def test_slow_counter_changes_the_order_of_stores() -> None:
    """A driver who must wait for one store visits the slow counter first."""
    both = need(
        stores=("apple", "lego"), store_ready_ms=(NOW_MS + 600_000, NOW_MS), ready_ms=NOW_MS
    )
    tour = job_tour(WITH_SLOW_COUNTER, both, SERVICE_TIME, NOW_MS)
    assert tour.order == (1, 0)


def test_tour_leaves_out_stores_that_are_done() -> None:
    both = need(
        stores=("apple", "lego"),
        store_ready_ms=(NOW_MS, NOW_MS + 600_000),
        ready_ms=NOW_MS + 600_000,
        done=("lego",),
    )
    apple = need(stores=("apple",), ready_ms=NOW_MS)
    for visit in (both, replace(both, done=("lego", "nowhere"))):
        assert job_tour(MALL, visit, SERVICE_TIME, NOW_MS) == job_tour(
            MALL, apple, SERVICE_TIME, NOW_MS
        )
    shared = run_tour(MALL, [both, need(stores=("apple",))], SERVICE_TIME, NOW_MS)
    assert len(shared.order) == 1


def test_tour_of_a_job_with_nothing_left_visits_all() -> None:
    both = need(stores=("apple", "lego"), done=("apple", "lego"))
    assert job_tour(MALL, both, SERVICE_TIME, NOW_MS) == job_tour(
        MALL, replace(both, done=()), SERVICE_TIME, NOW_MS
    )


def test_run_visits_each_store_once() -> None:
    jobs = [need(), need(stores=("apple",)), need(ready_ms=NOW_MS + 3_600_000)]
    tour = run_tour(WITH_SLOW_COUNTER, jobs, SERVICE_TIME, NOW_MS)
    assert len(tour.order) == 2
    assert tour.done_ms(NOW_MS) == NOW_MS + 3_600_000
    alone = run_tour(WITH_SLOW_COUNTER, jobs[:1], SERVICE_TIME, NOW_MS)
    assert alone == job_tour(WITH_SLOW_COUNTER, jobs[0], SERVICE_TIME, NOW_MS)


def test_parked_driver_starts_at_its_gate() -> None:
    jobs = [need(), need(stores=("apple",))]
    here = run_tour(WITH_SLOW_COUNTER, jobs, SERVICE_TIME, NOW_MS, "south")
    assert here.gate == "south"
    best = run_tour(WITH_SLOW_COUNTER, jobs, SERVICE_TIME, NOW_MS)
    assert here.collect_ms + here.back_ms > best.collect_ms + best.back_ms
