"""The drop-off order of a run: exact for up to 8 stops, insertion and local search beyond.

A run leaves the mall at time 0 and serves its stops in order. The cost of an order, in seconds, is
the route, the counted share of the trip back, the weighted lateness at each stop and the (lightly)
weighted time until each stop is served. The exact order is found by dynamic programming over
(visited stops, last stop), as in Held and Karp (1962). As the cheapest way to a state is not always
the earliest, a state keeps its Pareto front of (time, cost). Beyond eight stops: cheapest
insertion, then reversals (2-opt, Croes 1958) and moves of up to three stops (Or 1976) until nothing
improves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

EXACT_STOPS = 8
# The cost of a second of lateness with hard deadlines: more than any saving.
HARD_S = 10_000.0
_LONGEST_MOVE = 3
# Local search terminates by itself; this bounds cycles caused by rounding.
_MOST_ROUNDS = 200
_LEAST_GAIN_S = 1e-6

Order: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OrderCosts:
    """The weights of an order's cost.

    `late`: cost of a second after a deadline; `back`: the share of the trip back to the mall that
    counts; `delay`: cost of each second until each customer is served.
    """

    late: float = HARD_S
    back: float = 1.0
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Stops:
    """The drop-offs of a run in seconds.

    `out_s`: from the mall to each; `between_s`: between them; `back_s`: to the mall; `due_s`: from
    leaving the mall to each deadline; `dwell_s`: the time at a door.
    """

    out_s: Sequence[float]
    between_s: Sequence[Sequence[float]]
    back_s: Sequence[float]
    due_s: Sequence[float]
    dwell_s: float

    def __len__(self) -> int:
        return len(self.out_s)


class RunOrder(NamedTuple):
    """An order and its evaluation.

    `done_s`: when each stop is served, indexed by stop; `route_s`: from the mall to the last stop
    without dwell times; `late_s`: the sum of all lateness.
    """

    order: Order
    done_s: tuple[float, ...]
    route_s: float
    late_s: float
    cost_s: float


# (cost in seconds, seconds since the run left, the stops in order).
_Label: TypeAlias = tuple[float, float, Order]


def best_order(stops: Stops, costs: OrderCosts, start: Order | None = None) -> RunOrder:
    """Return the order with the least cost; deterministic.

    Beyond `EXACT_STOPS` it is a local optimum, never worse than the initial order `start`.
    """
    if not len(stops):
        return RunOrder((), (), 0.0, 0.0, 0.0)
    order = improved(stops, costs, inserted(stops, costs) if start is None else start)
    if len(stops) <= EXACT_STOPS:
        order = _exact(stops, costs, order)
    return evaluated(stops, costs, order)


def evaluated(stops: Stops, costs: OrderCosts, order: Sequence[int]) -> RunOrder:
    """Evaluate an order."""
    done_s = [0.0] * len(stops)
    time_s = route_s = late_s = 0.0
    here = -1
    for stop in order:
        leg_s = stops.out_s[stop] if here < 0 else stops.between_s[here][stop]
        route_s += leg_s
        time_s += leg_s + stops.dwell_s
        done_s[stop] = time_s
        late_s += max(0.0, time_s - stops.due_s[stop])
        here = stop
    back_s = costs.back * stops.back_s[here] if order else 0.0
    cost_s = route_s + back_s + costs.late * late_s + costs.delay * sum(done_s)
    return RunOrder(tuple(order), tuple(done_s), route_s, late_s, cost_s)


def cost_of(stops: Stops, costs: OrderCosts, order: Sequence[int]) -> float:
    """Return only the cost of an order, in seconds."""
    time_s = route_s = late_s = waited_s = 0.0
    here = -1
    for stop in order:
        leg_s = stops.out_s[stop] if here < 0 else stops.between_s[here][stop]
        route_s += leg_s
        time_s += leg_s + stops.dwell_s
        waited_s += time_s
        if time_s > stops.due_s[stop]:
            late_s += time_s - stops.due_s[stop]
        here = stop
    return route_s + costs.back * stops.back_s[here] + costs.late * late_s + costs.delay * waited_s


def inserted(stops: Stops, costs: OrderCosts) -> Order:
    """Return an order by cheapest insertion, in the order of deadlines."""
    order: Order = ()
    for stop in sorted(range(len(stops)), key=lambda stop: (stops.due_s[stop], stop)):
        candidates = [(*order[:at], stop, *order[at:]) for at in range(len(order) + 1)]
        order = min(candidates, key=lambda candidate: cost_of(stops, costs, candidate))
    return order


def improved(stops: Stops, costs: OrderCosts, order: Order) -> Order:
    """Return the local optimum under reversals and moves of one to three stops."""
    cost_s = cost_of(stops, costs, order)
    for _ in range(_MOST_ROUNDS):
        better = None
        for neighbour in _neighbours(order):
            neighbour_s = cost_of(stops, costs, neighbour)
            if neighbour_s < cost_s - _LEAST_GAIN_S:
                better, cost_s = neighbour, neighbour_s
        if better is None:
            return order
        order = better
    return order


def _neighbours(order: Order) -> list[Order]:
    count = len(order)
    neighbours = [
        order[:first] + order[first:last][::-1] + order[last:]
        for first in range(count - 1)
        for last in range(first + 2, count + 1)
    ]
    for length in range(1, min(_LONGEST_MOVE, count - 1) + 1):
        for first in range(count - length + 1):
            part, rest = order[first : first + length], order[:first] + order[first + length :]
            neighbours += [
                rest[:at] + part + rest[at:] for at in range(len(rest) + 1) if at != first
            ]
    return neighbours


def _exact(stops: Stops, costs: OrderCosts, known: Order) -> Order:
    """Return the best order; states that cannot beat the known order are pruned."""
    least_s = cost_of(stops, costs, known)
    rest_s = _least_rest_s(stops, costs)
    layer: dict[tuple[int, int], list[_Label]] = {(0, -1): [(0.0, 0.0, ())]}
    for _ in range(len(stops)):
        following: dict[tuple[int, int], list[_Label]] = {}
        for (seen, here), labels in layer.items():
            legs_s = stops.out_s if here < 0 else stops.between_s[here]
            for stop, due_s in enumerate(stops.due_s):
                if seen >> stop & 1:
                    continue
                state = seen | 1 << stop, stop
                bound_s = least_s - rest_s[state[0]] - _LEAST_GAIN_S
                for cost_s, before_s, order in labels:
                    time_s = before_s + legs_s[stop] + stops.dwell_s
                    after_s = cost_s + legs_s[stop] + costs.delay * time_s
                    if time_s > due_s:
                        after_s += costs.late * (time_s - due_s)
                    if after_s < bound_s:
                        _keep(following.setdefault(state, []), (after_s, time_s, (*order, stop)))
        layer = following
    best = known
    for (_, here), labels in layer.items():
        for cost_s, _, order in labels:
            whole_s = cost_s + costs.back * stops.back_s[here]
            if whole_s < least_s - _LEAST_GAIN_S:
                best, least_s = order, whole_s
    return best


def _least_rest_s(stops: Stops, costs: OrderCosts) -> list[float]:
    """Return a lower bound of the cost of the other stops, for each set of visited stops."""
    count = len(stops)
    nearest_s = [
        min([stops.out_s[stop], *(stops.between_s[o][stop] for o in range(count) if o != stop)])
        for stop in range(count)
    ]
    back_s = costs.back * min(stops.back_s)
    return [
        back_s + sum(nearest_s[stop] for stop in range(count) if not seen >> stop & 1)
        for seen in range(1 << count)
    ]


def _keep(labels: list[_Label], new: _Label) -> None:
    """Add a label unless another dominates it; drop the labels that it dominates."""
    for label in labels:
        if label[0] <= new[0] and label[1] <= new[1]:
            return
    labels[:] = [label for label in labels if label[0] < new[0] or label[1] < new[1]]
    labels.append(new)
