from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mallard_engine.core.runs.drop_off_order import (
    EXACT_STOPS,
    HARD_S,
    OrderCosts,
    RunOrder,
    Stops,
    best_order,
    cost_of,
    evaluated,
    improved,
    inserted,
)

# Seconds by road: metres of a grid at 10 m/s. Not symmetric: a one-way penalty by index.
COORDINATE = st.integers(0, 12_000)


def stops_of(points: list[tuple[int, int]], due_s: list[float], one_way_s: float = 0.0) -> Stops:
    places = [(6_000, 6_000), *points]
    ways_s = [
        [
            (abs(a[0] - b[0]) + abs(a[1] - b[1])) / 10 + (one_way_s if j < i else 0.0)
            for j, b in enumerate(places)
        ]
        for i, a in enumerate(places)
    ]
    return Stops(
        out_s=ways_s[0][1:],
        between_s=[row[1:] for row in ways_s[1:]],
        back_s=[row[0] for row in ways_s[1:]],
        due_s=due_s,
        dwell_s=60.0,
    )


@st.composite
def runs(draw: st.DrawFn, least: int = 1, most: int = 6) -> Stops:
    points = draw(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=least, max_size=most))
    due_s = [float(draw(st.integers(60, 6_000))) for _ in points]
    return stops_of(points, due_s, draw(st.sampled_from([0.0, 45.0])))


COSTS = st.builds(
    OrderCosts,
    late=st.sampled_from([0.0, 1.0, 10.0, HARD_S]),
    back=st.sampled_from([0.0, 0.5, 1.0]),
    delay=st.sampled_from([0.0, 0.05, 1.0]),
)


@settings(max_examples=150, deadline=None)
@given(runs(), COSTS)
def test_exact_order_costs_no_more_than_any_other(stops: Stops, costs: OrderCosts) -> None:
    least_s = min(cost_of(stops, costs, order) for order in permutations(range(len(stops))))
    assert best_order(stops, costs).cost_s == pytest.approx(least_s)


@settings(max_examples=50, deadline=None)
@given(runs(), COSTS)
def test_hard_deadlines_leave_no_avoidable_lateness(stops: Stops, costs: OrderCosts) -> None:
    hard = OrderCosts(HARD_S, costs.back, 0.0)
    least_s = min(evaluated(stops, hard, order).late_s for order in permutations(range(len(stops))))
    # A second of lateness outweighs the whole route, unless both differ by less.
    longest_s = sum(stops.out_s) + sum(stops.back_s) + sum(map(max, stops.between_s))
    assert best_order(stops, hard).late_s <= least_s + longest_s / HARD_S + 1e-6


@settings(max_examples=50, deadline=None)
@given(runs(least=9, most=14), COSTS)
def test_order_beyond_eight_stops_is_a_local_optimum(stops: Stops, costs: OrderCosts) -> None:
    best = best_order(stops, costs)
    assert sorted(best.order) == list(range(len(stops)))
    assert best.cost_s <= cost_of(stops, costs, inserted(stops, costs)) + 1e-6
    again = improved(stops, costs, best.order)
    assert cost_of(stops, costs, again) == pytest.approx(best.cost_s)


@settings(max_examples=50, deadline=None)
@given(runs(least=9, most=11), COSTS, st.randoms())
def test_order_is_never_worse_than_its_start(stops: Stops, costs: OrderCosts, rng: Random) -> None:
    start = list(range(len(stops)))
    rng.shuffle(start)
    start_s = cost_of(stops, costs, start)
    assert best_order(stops, costs, tuple(start)).cost_s <= start_s + 1e-6


@given(runs(most=5), COSTS)
def test_evaluation_is_consistent(stops: Stops, costs: OrderCosts) -> None:
    best = best_order(stops, costs)
    assert best.cost_s == pytest.approx(cost_of(stops, costs, best.order))
    served = [best.done_s[stop] for stop in best.order]
    assert served == sorted(served)
    assert served[-1] == pytest.approx(best.route_s + 60.0 * len(stops))
    late_s = sum(max(0.0, done - due) for done, due in zip(best.done_s, stops.due_s, strict=True))
    assert best.late_s == pytest.approx(late_s)


def test_no_stops_give_an_empty_order() -> None:
    assert best_order(stops_of([], []), OrderCosts()) == RunOrder((), (), 0.0, 0.0, 0.0)


def test_deadline_reverses_the_order() -> None:
    # Two stops in one line east of the mall: the near one first, unless the far one cannot wait.
    near, far = (7_000, 6_000), (9_000, 6_000)
    relaxed = best_order(stops_of([near, far], [9_000.0, 9_000.0]), OrderCosts(back=0.0))
    pressed = best_order(stops_of([near, far], [9_000.0, 400.0]), OrderCosts(back=0.0))
    assert relaxed.order == (0, 1)
    assert pressed.order == (1, 0)
    assert pressed.late_s == 0.0


def test_exact_solution_is_limited_to_eight_stops() -> None:
    assert EXACT_STOPS == 8
