"""Approximate visit times against the best tours."""

import random

import pytest

from mallard_engine.core.pickup.approximate_tour import ApproximateTour
from mallard_engine.core.pickup.store_tour import Call, best_tour
from tests.engine.core.makers import MALL

VISITS = ApproximateTour(MALL, lambda _mall, _store: 120.0)


def best_s(stores: list[str]) -> float:
    calls = [Call(store, 0, 120_000) for store in stores]
    tour = best_tour(MALL.walks, [MALL.stores[store].gate for store in stores], calls, 0)
    return (tour.collect_ms + tour.back_ms) / 1000


@pytest.mark.parametrize("store", MALL.stores)
def test_single_store_is_a_walk_there_and_back(store: str) -> None:
    there_s, back_s = VISITS.visit_s([store])
    assert (there_s, back_s) == (MALL.stores[store].walk_s + 120.0, MALL.stores[store].walk_s)


def test_tour_is_feasible_and_close_to_the_best() -> None:
    rng = random.Random(1)
    for _ in range(60):
        stores = rng.sample([*MALL.stores], rng.randint(2, 9))
        visit_s = sum(VISITS.visit_s(stores))
        # The best tour is in whole milliseconds, leg by leg.
        assert best_s(stores) - 0.02 <= visit_s <= 1.15 * best_s(stores)


def test_visit_begins_and_ends_at_the_gate_of_the_driver() -> None:
    there_s, back_s = VISITS.visit_s(["lego"], "south")
    walk_s = MALL.walks.from_gate_s("south", "lego")
    assert (there_s, back_s) == (walk_s + 120.0, walk_s)
    assert VISITS.visit_s(["lego"]) == VISITS.visit_s(["lego"], "north")


def test_store_counts_once_in_any_order() -> None:
    assert VISITS.visit_s(["lego", "apple", "lego"]) == VISITS.visit_s(["apple", "lego"])


def test_service_times_differ_by_store() -> None:
    slow = ApproximateTour(MALL, lambda _mall, store: 300.0 if store == "apple" else 120.0)
    assert slow.visit_s(["apple"])[0] - VISITS.visit_s(["apple"])[0] == 180.0
    assert slow.visit_s(["lego"]) == VISITS.visit_s(["lego"])


def test_unknown_store_raises() -> None:
    with pytest.raises(KeyError):
        VISITS.visit_s(["nowhere"])


def test_mean_visit_is_near_the_mean_of_random_visits() -> None:
    rng = random.Random(2)
    for count in (1, 2, 6, 12):
        visits_s = [sum(VISITS.visit_s(rng.choices([*MALL.stores], k=count))) for _ in range(200)]
        assert VISITS.mean_visit_s(count) == pytest.approx(sum(visits_s) / 200, rel=0.1)
