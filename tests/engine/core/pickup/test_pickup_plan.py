"""What a visit asks of whoever comes: counters as they are told, one way for several jobs."""

from dataclasses import replace

import pytest

from mallard_engine.core.pickup.pickup_plan import collecting, counters, visiting
from tests.engine.core.makers import MALL, NOW_MS, need

SLOW = replace(MALL.stores["lego"], handover_s=300)
TOLD = replace(MALL, stores={**MALL.stores, "lego": SLOW})
HANDOVER = counters({MALL.id: TOLD}, 120.0)


def test_a_counter_takes_what_its_places_file_tells() -> None:
    assert HANDOVER(MALL.id, "lego") == 300
    assert HANDOVER(MALL.id, "apple") == 120
    slow, usual = (
        collecting(TOLD, need(), handover, NOW_MS)
        for handover in (HANDOVER, lambda _mall, _store: 120.0)
    )
    assert slow.collect_ms - usual.collect_ms == 180_000
    with pytest.raises(KeyError):
        HANDOVER(MALL.id, "nowhere")


def test_slow_counters_change_the_order_where_others_must_be_waited_for() -> None:
    """Who waits for one store anyway does the slow counter first."""
    both = need(
        stores=("apple", "lego"), store_ready_ms=(NOW_MS + 600_000, NOW_MS), ready_ms=NOW_MS
    )
    tour = collecting(TOLD, both, HANDOVER, NOW_MS)
    assert tour.order == (1, 0)


def test_several_jobs_are_one_visit_to_each_store() -> None:
    jobs = [need(), need(stores=("apple",)), need(ready_ms=NOW_MS + 3_600_000)]
    tour = visiting(TOLD, jobs, HANDOVER, NOW_MS)
    assert len(tour.order) == 2
    assert tour.done_ms(NOW_MS) == NOW_MS + 3_600_000
    alone = visiting(TOLD, jobs[:1], HANDOVER, NOW_MS)
    assert alone == collecting(TOLD, jobs[0], HANDOVER, NOW_MS)


def test_who_has_parked_starts_from_there() -> None:
    jobs = [need(), need(stores=("apple",))]
    here = visiting(TOLD, jobs, HANDOVER, NOW_MS, "south")
    assert here.gate == "south"
    best = visiting(TOLD, jobs, HANDOVER, NOW_MS)
    assert here.collect_ms + here.back_ms > best.collect_ms + best.back_ms
