"""The approximate time of a visit to any set of a mall's stores, in constant time per store.

Pooling evaluates thousands of candidate runs a round, and each needs the time of a visit. The best
tour of each set of stores (`store_tour`) would take too long. Instead, all stores of a mall are put
in one good cyclic order once, and a subset is visited in that order, opened at its best gap: an
a-priori tour (Bertsimas, Jaillet, Odoni 1990). The result is a feasible tour, so it is never
shorter than the best one.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from mallard_engine.core.pickup.pickup_plan import ServiceTime
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.walking import Walks

_MOST_PASSES = 50
# The number of random visits that are averaged.
_SAMPLES = 64
_LEAST_GAIN_S = 1e-6


class ApproximateTour:
    """The a-priori tour of one mall; caches the times of visits by set of stores."""

    def __init__(self, mall: Mall, service_time: ServiceTime) -> None:
        self._mall = mall
        self._service_time = service_time
        order = _round(mall.walks, (*mall.stores,))
        self._turn = {store: turn for turn, store in enumerate(order)}
        self._seconds: dict[tuple[frozenset[str], str], tuple[float, float]] = {}

    def visit_s(self, stores: Iterable[str], gate: str = "") -> tuple[float, float]:
        """Return the seconds of a visit to these stores, if all parcels are ready.

        Args:
            stores: The stores to visit.
            gate: Where the driver parks; empty: at the gate with the shortest walk.

        Returns:
            Seconds from a gate until the last parcel is in hand, and from there back to the gate.

        Raises:
            KeyError: The mall does not have one of the stores, or the gate.
        """
        asked = frozenset(stores), gate
        known = self._seconds.get(asked)
        if known is None:
            known = self._seconds[asked] = self._measured(*asked)
        return known

    def surely_in_hand_s(self, stores: Iterable[str]) -> float:
        """Return the seconds from a gate by which any driver has all parcels, if they are ready.

        A driver chooses the tour that brings it back first, and may call at the last store later
        than on this one.
        """
        asked = frozenset(stores)
        there_s, back_s = self.visit_s(asked)
        return there_s if len(asked) == 1 else there_s + back_s

    def mean_visit_s(self, count: int) -> float:
        """Return the mean seconds of a visit for `count` parcels of random stores, gate to gate."""
        stores = tuple(self._turn)
        gates = tuple(self._mall.stores[store].gate for store in stores)
        walk_s, called = _usual(self._mall.walks, stores, gates, count)
        service_s = sum(self._service_time(self._mall.id, store) for store in stores) / len(stores)
        return walk_s + called * service_s

    def _measured(self, asked: frozenset[str], gate: str) -> tuple[float, float]:
        mall = self._mall
        order = sorted(asked, key=self._turn.__getitem__)
        gates = [gate or mall.stores[store].gate for store in order]
        service_s = sum(self._service_time(mall.id, store) for store in order)
        there_s, back_s = _walk_s(mall.walks, order, gates)
        return there_s + service_s, back_s


def _walk_s(walks: Walks, order: Sequence[str], gates: Sequence[str]) -> tuple[float, float]:
    """Return the walk through stores in tour order, opened at its best gap.

    Args:
        walks: The mall's walking times.
        order: The stores in the order of the tour.
        gates: The gate of each of them.

    Returns:
        Seconds from a gate to the last store, and from there back to the gate.
    """
    count = len(order)
    steps_s = [walks.between_s(order[turn], order[(turn + 1) % count]) for turn in range(count)]
    around_s = sum(steps_s)
    return min(
        (
            (
                around_s - step_s + walks.from_gate_s(gate, order[(last + 1) % count]),
                walks.from_gate_s(gate, order[last]),
            )
            for last, step_s in enumerate(steps_s)
            for gate in dict.fromkeys((gates[(last + 1) % count], gates[last]))
        ),
        key=sum,
    )


@lru_cache(maxsize=1_024)
def _usual(
    walks: Walks, stores: tuple[str, ...], gates: tuple[str, ...], count: int
) -> tuple[float, float]:
    """Return the mean walk for `count` parcels, gate to gate, and the mean number of stores.

    `stores` are all stores of the mall in tour order, `gates` their gates.
    """
    draws = np.random.default_rng(count).integers(len(stores), size=(_SAMPLES, count)).tolist()
    walk_s = stores_called = 0.0
    for draw in draws:
        drawn = sorted(set(draw))
        walk_s += sum(_walk_s(walks, [stores[at] for at in drawn], [gates[at] for at in drawn]))
        stores_called += len(drawn)
    return walk_s / _SAMPLES, stores_called / _SAMPLES


@lru_cache(maxsize=256)
def _round(walks: Walks, stores: tuple[str, ...]) -> tuple[str, ...]:
    """Return a short cyclic tour: cheapest insertion, then 2-opt until nothing improves."""
    order: list[str] = []
    for store in stores:
        places = range(len(order)) or range(1)
        added_s = [
            walks.between_s(order[at - 1], store)
            + walks.between_s(store, order[at])
            - walks.between_s(order[at - 1], order[at])
            if order
            else 0.0
            for at in places
        ]
        order.insert(added_s.index(min(added_s)), store)
    for _ in range(_MOST_PASSES):
        if not _improved(walks, order):
            break
    return tuple(order)


def _improved(walks: Walks, order: list[str]) -> bool:
    count, better = len(order), False
    for first in range(count - 1):
        for last in range(first + 1, count - (first == 0)):
            before, after = order[first - 1], order[(last + 1) % count]
            gain_s = (
                walks.between_s(before, order[first])
                + walks.between_s(order[last], after)
                - walks.between_s(before, order[last])
                - walks.between_s(order[first], after)
            )
            if gain_s > _LEAST_GAIN_S:
                order[first : last + 1] = order[first : last + 1][::-1]
                better = True
    return better
