"""How long a visit to a mall takes, near enough and at once: the stores in the order of one round.

Which jobs go together in a run is asked thousands of times a round, and what a visit takes is in
every answer. The best way through each set of stores would be too dear (`collecting`); here all
stores of a mall are put in one good order once, and any few of them are visited in that order, cut
open at its longest gap: an a-priori tour (Bertsimas, Jaillet, Odoni 1990). It is a way that one can
walk, so it is never shorter than the best.
"""

from collections.abc import Iterable
from functools import lru_cache

from engine.core.mall import Mall
from engine.core.visits import Handover
from engine.core.walks import Walks

_MOST_PASSES = 50
_LEAST_GAIN_S = 1e-6


class StoreRound:
    """A mall's round. Seconds of visits by set of stores are kept as long as it is."""

    def __init__(self, mall: Mall, handover: Handover) -> None:
        self._mall = mall
        self._handover = handover
        self._turn = {store: turn for turn, store in enumerate(_round(mall.walks, (*mall.stores,)))}
        self._seconds: dict[frozenset[str], tuple[float, float]] = {}

    def visit_s(self, stores: Iterable[str]) -> tuple[float, float]:
        """From a gate until the parcels of these stores are in hand, if they are ready, and from
        there back to the gate. :raises KeyError: for a store that the mall does not have"""
        asked = frozenset(stores)
        known = self._seconds.get(asked)
        if known is None:
            known = self._seconds[asked] = self._reckoned(asked)
        return known

    def mean_s(self) -> float:
        """A visit to one store, averaged over them all."""
        visits = [self.visit_s((store,))[0] for store in self._mall.stores]
        return sum(visits) / len(visits)

    def _reckoned(self, asked: frozenset[str]) -> tuple[float, float]:
        walks, mall = self._mall.walks, self._mall
        order = sorted(asked, key=self._turn.__getitem__)
        counters_s = sum(self._handover(mall.id, store) for store in order)
        steps_s = [
            walks.between_s(store, order[(turn + 1) % len(order)])
            for turn, store in enumerate(order)
        ]
        around_s = sum(steps_s)
        best = min(
            (
                (around_s - step_s + walks.from_gate_s(gate, first), walks.from_gate_s(gate, last))
                for turn, (last, step_s) in enumerate(zip(order, steps_s, strict=True))
                for first in (order[(turn + 1) % len(order)],)
                for gate in {mall.stores[first].gate: None, mall.stores[last].gate: None}
            ),
            key=sum,
        )
        return best[0] + counters_s, best[1]


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
