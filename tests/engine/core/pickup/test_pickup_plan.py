"""What a visit asks of whoever comes: service_times as they are told, one way for several jobs."""

from dataclasses import replace

import pytest

from mallard_engine.core.pickup.pickup_plan import job_tour, run_tour, service_times
from tests.engine.core.makers import MALL, NOW_MS, need

SLOW = replace(MALL.stores["lego"], handover_s=300)
TOLD = replace(MALL, stores={**MALL.stores, "lego": SLOW})
SERVICE_TIME = service_times({MALL.id: TOLD}, 120.0)


def test_a_counter_takes_what_its_places_file_tells() -> None:
    assert SERVICE_TIME(MALL.id, "lego") == 300
    assert SERVICE_TIME(MALL.id, "apple") == 120
    slow, usual = (
        job_tour(TOLD, need(), service_time, NOW_MS)
        for service_time in (SERVICE_TIME, lambda _mall, _store: 120.0)
    )
    assert slow.collect_ms - usual.collect_ms == 180_000
    with pytest.raises(KeyError):
        SERVICE_TIME(MALL.id, "nowhere")


def test_slow_counters_change_the_order_where_others_must_be_waited_for() -> None:
    """Who waits for one store anyway does the slow counter first."""
    both = need(
        stores=("apple", "lego"), store_ready_ms=(NOW_MS + 600_000, NOW_MS), ready_ms=NOW_MS
    )
    tour = job_tour(TOLD, both, SERVICE_TIME, NOW_MS)
    assert tour.order == (1, 0)


def test_several_jobs_are_one_visit_to_each_store() -> None:
    jobs = [need(), need(stores=("apple",)), need(ready_ms=NOW_MS + 3_600_000)]
    tour = run_tour(TOLD, jobs, SERVICE_TIME, NOW_MS)
    assert len(tour.order) == 2
    assert tour.done_ms(NOW_MS) == NOW_MS + 3_600_000
    alone = run_tour(TOLD, jobs[:1], SERVICE_TIME, NOW_MS)
    assert alone == job_tour(TOLD, jobs[0], SERVICE_TIME, NOW_MS)


def test_who_has_parked_starts_from_there() -> None:
    jobs = [need(), need(stores=("apple",))]
    here = run_tour(TOLD, jobs, SERVICE_TIME, NOW_MS, "south")
    assert here.gate == "south"
    best = run_tour(TOLD, jobs, SERVICE_TIME, NOW_MS)
    assert here.collect_ms + here.back_ms > best.collect_ms + best.back_ms
