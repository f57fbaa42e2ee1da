"""The order of stores against trying every order."""

import random
from functools import cache
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mallard_engine.core.pickup.store_tour import EXACT_STORES, Call, Tour, best_tour, tour_done_by
from mallard_engine.core.places.geo import LocalPlane
from mallard_engine.core.places.mall import Gate, Store
from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.walking import FLOOR_S, NEXT_DOOR_S, Walks

PLANE = LocalPlane(33.3, -111.9)
GATES = {
    name: Gate(name, 33.3 + north / 111_000, -111.9 + east / 93_000)
    for name, north, east in (("north", 180, 0), ("south", -160, 0), ("east", 0, 220))
}


def mall_of(*stores: tuple[str, int, int]) -> Walks:
    """Stores by number: gate, floor, walk."""
    return Walks(
        PLANE,
        GATES,
        {
            str(number): Store(str(number), "", gate, floor, walk_s)
            for number, (gate, floor, walk_s) in enumerate(stores)
        },
    )


def every_tour(
    walks: Walks, gate: str, calls: list[Call]
) -> list[tuple[int, int, tuple[int, ...]]]:
    """Return the walk of every order, and its return time as a function of the arrival."""
    found = []
    for order in permutations(range(len(calls))):
        walk = 0
        before = None
        for number in order:
            here = calls[number].store
            leg = walks.from_gate_s(gate, here) if before is None else walks.between_s(before, here)
            walk += round(leg * 1000) + calls[number].service_ms
            before = here
        assert before is not None
        found.append((walk, round(walks.from_gate_s(gate, before) * 1000), order))
    return found


def back_ms(walks: Walks, gate: str, calls: list[Call], order: tuple[int, ...], at_ms: int) -> int:
    """Return when a driver who walks this order is back at the gate."""
    before = None
    for number in order:
        call = calls[number]
        leg = (
            walks.from_gate_s(gate, call.store)
            if before is None
            else walks.between_s(before, call.store)
        )
        at_ms = max(at_ms + round(leg * 1000) + call.service_ms, call.ready_ms)
        before = call.store
    assert before is not None
    return at_ms + round(walks.from_gate_s(gate, before) * 1000)


stores = st.lists(
    st.tuples(st.sampled_from(sorted(GATES)), st.integers(1, 3), st.integers(20, 400)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(stores, st.data())
def test_no_order_is_back_sooner_or_equally_soon_and_shorter(
    placed: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    walks = mall_of(*placed)
    minutes = st.integers(0, 30).map(lambda minute: minute * 60_000)
    calls = [
        Call(str(number), data.draw(minutes), data.draw(st.sampled_from([0, 60_000, 150_000])))
        for number in range(len(placed))
    ]
    arrive_ms = data.draw(minutes)
    gates = [store[0] for store in placed]
    tour = best_tour(walks, gates, calls, arrive_ms)

    assert sorted(tour.order) == list(range(len(calls)))
    walked = min(walk + back for gate in gates for walk, back, _ in every_tour(walks, gate, calls))
    of_gate = min(walk + back for walk, back, _ in every_tour(walks, tour.gate, calls))
    assert of_gate == walked
    best = min(
        (back_ms(walks, tour.gate, calls, order, arrive_ms), walk + back)
        for walk, back, order in every_tour(walks, tour.gate, calls)
    )
    assert (tour.done_ms(arrive_ms) + tour.back_ms, tour.collect_ms + tour.back_ms) == best
    # The tour's two constants give the right time for any other arrival, too.
    other_ms = data.draw(minutes)
    assert tour.done_ms(other_ms) + tour.back_ms == back_ms(
        walks, tour.gate, calls, tour.order, other_ms
    )


@settings(max_examples=100, deadline=None)
@given(stores, st.data())
def test_tour_done_by_a_time_is_the_shortest_such(
    placed: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    walks = mall_of(*placed)
    minutes = st.integers(0, 30).map(lambda minute: minute * 60_000)
    calls = [Call(str(number), data.draw(minutes), 60_000) for number in range(len(placed))]
    gates = [store[0] for store in placed]
    arrive_ms = data.draw(minutes)
    best = best_tour(walks, gates, calls, arrive_ms)
    found = tour_done_by(walks, gates, calls, best.done_ms(arrive_ms))
    assert found is not None
    assert found.gate == best.gate
    assert found.ready_ms <= best.done_ms(arrive_ms)
    # The walk is no longer, and the shortest of all orders that are in time.
    assert found.collect_ms + found.back_ms <= best.collect_ms + best.back_ms
    shortest = min(
        walk + back
        for walk, back, order in every_tour(walks, best.gate, calls)
        if back_ms(walks, best.gate, calls, order, -(10**9)) - back <= best.done_ms(arrive_ms)
    )
    assert found.collect_ms + found.back_ms == shortest
    assert tour_done_by(walks, gates, calls, -1) is None


def first_back_ms(walks: Walks, gate: str, calls: list[Call], arrive_ms: int) -> int:
    """Compute the optimum independently: memoised over remaining stores and position."""

    @cache
    def in_hand_ms(visited: frozenset[int], last: int) -> int:
        before = visited - {last}
        call = calls[last]
        there_ms = (
            min(
                in_hand_ms(before, j) + round(walks.between_s(calls[j].store, call.store) * 1000)
                for j in before
            )
            if before
            else arrive_ms + round(walks.from_gate_s(gate, call.store) * 1000)
        )
        return max(there_ms + call.service_ms, call.ready_ms)

    everything = frozenset(range(len(calls)))
    return min(
        in_hand_ms(everything, j) + round(walks.from_gate_s(gate, calls[j].store) * 1000)
        for j in everything
    )


@pytest.mark.parametrize("seed", range(6))
def test_ten_stores_are_solved_exactly(seed: int) -> None:
    rng = random.Random(seed)
    walks = mall_of(
        *[
            (rng.choice(sorted(GATES)), rng.randint(1, 3), rng.randint(20, 400))
            for _ in range(EXACT_STORES)
        ]
    )
    calls = [
        Call(str(number), rng.randrange(0, 3_600_000), rng.randrange(0, 180_000))
        for number in range(EXACT_STORES)
    ]
    tour = best_tour(walks, list(GATES), calls, 600_000)
    expected = first_back_ms(walks, tour.gate, calls, 600_000)
    assert tour.done_ms(600_000) + tour.back_ms == expected
    assert back_ms(walks, tour.gate, calls, tour.order, 600_000) == expected


def test_more_than_ten_stores_are_all_visited() -> None:
    walks = mall_of(*[("north", 1, 10 * number) for number in range(14)])
    calls = [Call(str(n), 0, 1_000) for n in range(14)]
    tour = best_tour(walks, ["north"], calls, 0)
    assert tour.order == tuple(range(14))
    assert isinstance(tour, Tour)


def test_driver_visits_ready_stores_before_waiting() -> None:
    walks = mall_of(("north", 1, 60), ("north", 1, 120))
    near_but_late = [Call("0", 600_000, 0), Call("1", 0, 0)]
    assert best_tour(walks, ["north"], near_but_late, 0).order == (1, 0)
    assert best_tour(walks, ["north"], near_but_late, 900_000).collect_ms == 135_000


def test_gate_has_the_shorter_walk() -> None:
    walks = mall_of(("north", 1, 120), ("south", 1, 30), ("south", 2, 90))
    calls = [Call(str(number), 0, 0) for number in range(3)]
    assert best_tour(walks, ["north", "south", "south"], calls, 0).gate == "south"


def test_tour_without_calls_raises() -> None:
    with pytest.raises(ValueError, match="nothing to collect"):
        best_tour(mall_of(), ["north"], [], 0)


def test_walk_from_the_own_gate_is_exact() -> None:
    for mall in Places.load().malls.values():
        for store in mall.stores.values():
            assert mall.walks.from_gate_s(store.gate, store.id) == store.walk_s


def test_walks_are_symmetric_and_obey_the_triangle_rule() -> None:
    mall = Places.load().mall("chandler-fashion-center")
    walks, names = mall.walks, list(mall.stores)
    for a in names:
        assert walks.between_s(a, a) == 0
        for b in names:
            assert walks.between_s(a, b) == walks.between_s(b, a)
            if a != b:
                assert walks.between_s(a, b) >= NEXT_DOOR_S
            for c in names:
                assert walks.between_s(a, c) <= walks.between_s(a, b) + walks.between_s(b, c) + 1e-9
            for gate in mall.gates:
                assert (
                    walks.from_gate_s(gate, b)
                    <= walks.from_gate_s(gate, a) + walks.between_s(a, b) + 1e-9
                )


def test_another_floor_adds_time() -> None:
    walks = mall_of(("north", 1, 90), ("north", 2, 120))
    assert walks.between_s("0", "1") == NEXT_DOOR_S + FLOOR_S
