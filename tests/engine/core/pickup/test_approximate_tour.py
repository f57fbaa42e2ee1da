"""What visits take near enough, against the best ways through the stores."""

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
def test_one_store_is_a_walk_there_and_back(store: str) -> None:
    there_s, back_s = VISITS.visit_s([store])
    assert (there_s, back_s) == (MALL.stores[store].walk_s + 120.0, MALL.stores[store].walk_s)


def test_it_is_a_way_that_one_can_walk_and_little_longer_than_the_best() -> None:
    dice = random.Random(1)
    for _ in range(60):
        stores = dice.sample([*MALL.stores], dice.randint(2, 9))
        visit_s = sum(VISITS.visit_s(stores))
        # The best tour is in whole milliseconds, leg by leg.
        assert best_s(stores) - 0.02 <= visit_s <= 1.15 * best_s(stores)


def test_a_store_counts_once_in_whatever_order() -> None:
    assert VISITS.visit_s(["lego", "apple", "lego"]) == VISITS.visit_s(["apple", "lego"])


def test_counters_of_their_own() -> None:
    slow = ApproximateTour(MALL, lambda _mall, store: 300.0 if store == "apple" else 120.0)
    assert slow.visit_s(["apple"])[0] - VISITS.visit_s(["apple"])[0] == 180.0
    assert slow.visit_s(["lego"]) == VISITS.visit_s(["lego"])


def test_a_store_of_another_mall_is_told() -> None:
    with pytest.raises(KeyError):
        VISITS.visit_s(["nowhere"])


def test_a_visit_to_whatever_stores_is_as_long_as_most_are() -> None:
    dice = random.Random(2)
    for count in (1, 2, 6, 12):
        visits_s = [sum(VISITS.visit_s(dice.choices([*MALL.stores], k=count))) for _ in range(200)]
        assert VISITS.mean_visit_s(count) == pytest.approx(sum(visits_s) / 200, rel=0.1)
