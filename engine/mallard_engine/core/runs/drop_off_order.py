"""The drop-off order of a run: exact for up to 8 stops, insertion and local search beyond.

A run leaves the mall at time 0 and hands over at each stop in turn. What an order costs, in
seconds: the way, the counted share of the way back, each second that a stop is reached after its
deadline and (weighed little) how long each customer waits. The exact order is found by dynamic
programming over (stops visited, last stop) as Held and Karp (1962) do; as lateness makes the
cheapest way there not always the earliest, a state keeps every (time, cost) that no other is better
than in both. Beyond eight stops: cheapest insertion, then reversals of parts (2-opt, Croes 1958)
and moves of up to three stops (Or 1976) until none helps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

EXACT_STOPS = 8
# A second late where deadlines are hard: no way that is saved is worth one.
HARD_S = 10_000.0
_LONGEST_MOVE = 3
# Local search ends by itself; this only bounds what floats that differ in the last digit could do.
_MOST_ROUNDS = 200
_LEAST_GAIN_S = 1e-6

Order: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OrderCosts:
    """``late``: what a second after the deadline costs. ``back``: the share of the way back to the
    mall that counts (drivers return for the next run). ``delay``: what each second until each
    customer is served costs."""

    late: float = HARD_S
    back: float = 1.0
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Stops:
    """The drop-offs of a run, in seconds: from the mall to each, between them, back to the mall, to
    each deadline from when the run leaves, and the time at a door."""

    out_s: Sequence[float]
    between_s: Sequence[Sequence[float]]
    back_s: Sequence[float]
    due_s: Sequence[float]
    dwell_s: float

    def __len__(self) -> int:
        return len(self.out_s)


class RunOrder(NamedTuple):
    """An order and what it comes to. ``done_s``: when each stop is served, by stop and not by turn.
    ``way_s``: from the mall to the last stop, without dwells; ``late_s``: all lateness together."""

    order: Order
    done_s: tuple[float, ...]
    way_s: float
    late_s: float
    cost_s: float


# (cost in seconds, seconds since the run left, the stops in turn).
_Label: TypeAlias = tuple[float, float, Order]


def best_order(stops: Stops, costs: OrderCosts, start: Order | None = None) -> RunOrder:
    """The order with the least cost; beyond `EXACT_STOPS` a good one, never worse than ``start``,
    an order to begin with. The same stops give the same order."""
    if not len(stops):
        return RunOrder((), (), 0.0, 0.0, 0.0)
    order = improved(stops, costs, inserted(stops, costs) if start is None else start)
    if len(stops) <= EXACT_STOPS:
        order = _exact(stops, costs, order)
    return evaluated(stops, costs, order)


def evaluated(stops: Stops, costs: OrderCosts, order: Sequence[int]) -> RunOrder:
    """What an order comes to."""
    done_s = [0.0] * len(stops)
    time_s = way_s = late_s = 0.0
    here = -1
    for stop in order:
        leg_s = stops.out_s[stop] if here < 0 else stops.between_s[here][stop]
        way_s += leg_s
        time_s += leg_s + stops.dwell_s
        done_s[stop] = time_s
        late_s += max(0.0, time_s - stops.due_s[stop])
        here = stop
    back_s = costs.back * stops.back_s[here] if order else 0.0
    cost_s = way_s + back_s + costs.late * late_s + costs.delay * sum(done_s)
    return RunOrder(tuple(order), tuple(done_s), way_s, late_s, cost_s)


def cost_of(stops: Stops, costs: OrderCosts, order: Sequence[int]) -> float:
    """The cost of an order alone, in seconds."""
    time_s = way_s = late_s = waited_s = 0.0
    here = -1
    for stop in order:
        leg_s = stops.out_s[stop] if here < 0 else stops.between_s[here][stop]
        way_s += leg_s
        time_s += leg_s + stops.dwell_s
        waited_s += time_s
        if time_s > stops.due_s[stop]:
            late_s += time_s - stops.due_s[stop]
        here = stop
    return way_s + costs.back * stops.back_s[here] + costs.late * late_s + costs.delay * waited_s


def inserted(stops: Stops, costs: OrderCosts) -> Order:
    """An order by cheapest insertion, the stop with the earliest deadline first."""
    order: Order = ()
    for stop in sorted(range(len(stops)), key=lambda stop: (stops.due_s[stop], stop)):
        ways = [(*order[:at], stop, *order[at:]) for at in range(len(order) + 1)]
        order = min(ways, key=lambda way: cost_of(stops, costs, way))
    return order


def improved(stops: Stops, costs: OrderCosts, order: Order) -> Order:
    """The order after every reversal of a part and every move of one to three stops that helps."""
    cost_s = cost_of(stops, costs, order)
    for _ in range(_MOST_ROUNDS):
        better = None
        for way in _neighbours(order):
            way_s = cost_of(stops, costs, way)
            if way_s < cost_s - _LEAST_GAIN_S:
                better, cost_s = way, way_s
        if better is None:
            return order
        order = better
    return order


def _neighbours(order: Order) -> list[Order]:
    count = len(order)
    ways = [
        order[:first] + order[first:last][::-1] + order[last:]
        for first in range(count - 1)
        for last in range(first + 2, count + 1)
    ]
    for length in range(1, min(_LONGEST_MOVE, count - 1) + 1):
        for first in range(count - length + 1):
            part, rest = order[first : first + length], order[:first] + order[first + length :]
            ways += [rest[:at] + part + rest[at:] for at in range(len(rest) + 1) if at != first]
    return ways


def _exact(stops: Stops, costs: OrderCosts, known: Order) -> Order:
    """The best order. What cannot beat the known one any more is not followed."""
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
    """For each set of visited stops (as bits): what the others cost at the least."""
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
    """Add a label unless another is as good in time and cost; drop those that it is better than."""
    for label in labels:
        if label[0] <= new[0] and label[1] <= new[1]:
            return
    labels[:] = [label for label in labels if label[0] < new[0] or label[1] < new[1]]
    labels.append(new)
