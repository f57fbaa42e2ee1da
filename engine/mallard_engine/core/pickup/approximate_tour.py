"""How long a visit to a mall takes, near enough and at once: the stores in the order of one round.

Which jobs go together in a run is asked thousands of times a round, and what a visit takes is in
every answer. The best way through each set of stores would be too dear (`collecting`); here all
stores of a mall are put in one good order once, and any few of them are visited in that order, cut
open at its longest gap: an a-priori tour (Bertsimas, Jaillet, Odoni 1990). It is a way that one can
walk, so it is never shorter than the best.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from mallard_engine.core.pickup.pickup_plan import ServiceTime
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.walking import Walks

_MOST_PASSES = 50
# So many visits are averaged.
_DRAWN = 64
_LEAST_GAIN_S = 1e-6


class ApproximateTour:
    """A mall's round. Seconds of visits by set of stores are kept as long as it is."""

    def __init__(self, mall: Mall, service_time: ServiceTime) -> None:
        self._mall = mall
        self._service_time = service_time
        order = _round(mall.walks, (*mall.stores,))
        self._turn = {store: turn for turn, store in enumerate(order)}
        self._seconds: dict[frozenset[str], tuple[float, float]] = {}

    def visit_s(self, stores: Iterable[str]) -> tuple[float, float]:
        """From a gate until the parcels of these stores are in hand, if they are ready, and from
        there back to the gate. :raises KeyError: for a store that the mall does not have"""
        asked = frozenset(stores)
        known = self._seconds.get(asked)
        if known is None:
            known = self._seconds[asked] = self._measured(asked)
        return known

    def mean_visit_s(self, count: int) -> float:
        """A visit for so many parcels of whatever stores, back at the gate; on average."""
        stores = tuple(self._turn)
        gates = tuple(self._mall.stores[store].gate for store in stores)
        walk_s, called = _usual(self._mall.walks, stores, gates, count)
        counters_s = sum(self._service_time(self._mall.id, store) for store in stores) / len(stores)
        return walk_s + called * counters_s

    def _measured(self, asked: frozenset[str]) -> tuple[float, float]:
        mall = self._mall
        order = sorted(asked, key=self._turn.__getitem__)
        gates = [mall.stores[store].gate for store in order]
        counters_s = sum(self._service_time(mall.id, store) for store in order)
        there_s, back_s = _walk_s(mall.walks, order, gates)
        return there_s + counters_s, back_s


def _walk_s(walks: Walks, order: Sequence[str], gates: Sequence[str]) -> tuple[float, float]:
    """The walk through stores in the order of the round, open at its best place: from a gate to the
    last of them, and back. ``gates``: theirs."""
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
    """The walk for so many parcels there and back, and at how many stores they are, on average.
    ``stores``: all of the mall in the order of their round, with their gates."""
    draws = np.random.default_rng(count).integers(len(stores), size=(_DRAWN, count)).tolist()
    walk_s = called = 0.0
    for draw in draws:
        drawn = sorted(set(draw))
        walk_s += sum(_walk_s(walks, [stores[at] for at in drawn], [gates[at] for at in drawn]))
        called += len(drawn)
    return walk_s / _DRAWN, called / _DRAWN


@lru_cache(maxsize=256)
def _round(walks: Walks, stores: tuple[str, ...]) -> tuple[str, ...]:
    """A short round through all of them: cheapest insertion, then reversals until none helps."""
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
