"""The order in which a driver visits the stores of a mall: in from a gate, around, and back.

Best is what brings the driver back to its car first; of the orders that do, the shortest walk. So
nobody stands before a store that is not ready while another is. A store's hand-over may begin
before its parcels are ready, and ends no sooner.

For one order, the parcels are all in hand at ``max(arrival + collect, ready)``: what lies on the
way is a constant, and so is what must be waited for. So an order is worked out once a job, and each
driver's time from it at the price of a comparison.

Exact up to ``EXACT_STORES``, by dynamic programming over the sets of stores that have been visited
(Held and Karp 1962, with release times): who is at a store with the same stores behind it, but
sooner, is never worse off. Beyond, always on to the store whose parcels are in hand first.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise, permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.places.walking import Walks

EXACT_STORES = 10

# Up to so many, trying every order costs less than setting up the tables.
_BY_HAND = 3
_NEVER = 1 << 60
# For one who comes then, everything is ready.
_AT_LAST_MS = 1 << 50

_Table = NDArray[np.int64]


class Call(NamedTuple):
    """What is to be done at one store. ``service_ms``: the time at its counter."""

    store: str
    ready_ms: int
    service_ms: int


class Tour(NamedTuple):
    """A way through the stores. ``order``: the calls by number; ``collect_ms``: from the gate until
    the last parcel is in hand, if all are ready; ``ready_ms``: no sooner than this in any case;
    ``back_ms``: from the last store to the gate."""

    gate: str
    order: tuple[int, ...]
    collect_ms: int
    ready_ms: int
    back_ms: int

    def done_ms(self, arrive_ms: int) -> int:
        """When the last parcel is in hand."""
        return max(arrive_ms + self.collect_ms, self.ready_ms)


def best_tour(walks: Walks, gates: Sequence[str], calls: Sequence[Call], arrive_ms: int) -> Tour:
    """The best way through the stores for a driver who is at a gate at ``arrive_ms``.

    ``gates``: where it may park, at least one; the one with the shortest walk is taken, of equals
    the first, whatever is ready when: so the gate does not change while the driver is on its way.

    :raises KeyError: for a store or gate that is not the mall's
    :raises ValueError: for no stores at all
    """
    if not calls:
        raise ValueError("there is nothing to collect")
    choices = tuple(dict.fromkeys(gates))
    if len(calls) == 1:
        return min((_Ways(walks, gate, calls).tour((0,)) for gate in choices), key=_walk_ms)
    # Who waits for nothing walks the same way whenever it comes.
    waits = any(call.ready_ms > arrive_ms for call in calls)
    asked = tuple(calls) if waits else tuple([call._replace(ready_ms=0) for call in calls])
    gate, order = _best_order(walks, choices, asked, arrive_ms if waits else None)
    return _Ways(walks, gate, calls).tour(order)


@lru_cache(maxsize=2_048)
def _best_order(
    walks: Walks, gates: tuple[str, ...], calls: tuple[Call, ...], arrive_ms: int | None
) -> tuple[str, tuple[int, ...]]:
    """The same, kept: a job that waits for its driver is looked at again and again."""
    by_gate = {gate: _Ways(walks, gate, calls) for gate in gates}
    best = min([_tour(ways, None) for ways in by_gate.values()], key=_walk_ms)
    if arrive_ms is not None:
        best = _tour(by_gate[best.gate], arrive_ms)
    return best.gate, best.order


def tour_done_by(
    walks: Walks, gates: Sequence[str], calls: Sequence[Call], done_ms: int
) -> Tour | None:
    """The shortest walk that has the last parcel in hand by then for a driver who comes early
    enough; None if none has. It is the way of a driver of whom only that time is known: whatever
    order the time was worked out for is one of those that are looked at.

    :raises KeyError: :raises ValueError: as above
    """
    gate = best_tour(walks, gates, calls, _AT_LAST_MS).gate
    order = _order_done_by(walks, gate, tuple(calls), done_ms)
    return _Ways(walks, gate, calls).tour(order) if order else None


@lru_cache(maxsize=2_048)
def _order_done_by(
    walks: Walks, gate: str, calls: tuple[Call, ...], done_ms: int
) -> tuple[int, ...]:
    """Its order; none if there is none."""
    ways = _Ways(walks, gate, calls)
    n = len(calls)
    if n <= _BY_HAND:
        tours = [ways.tour(order) for order in permutations(range(n))]
    elif n > EXACT_STORES:
        tours = [ways.tour(_one_by_one(ways, None))]
    else:
        tables = _Tables(ways)
        orders = [tables.order_to(last, done_ms) for last in range(n)]
        tours = [ways.tour(order) for order in orders if order]
    in_time = [tour for tour in tours if tour.ready_ms <= done_ms]
    return min(in_time, key=_walk_ms).order if in_time else ()


def _walk_ms(tour: Tour) -> int:
    return tour.collect_ms + tour.back_ms


class _Ways:
    """The figures of one gate and n calls, all in ms: ``way`` (n, n), ``at_gate`` (n,)."""

    __slots__ = ("at_gate", "calls", "gate", "way")

    def __init__(self, walks: Walks, gate: str, calls: Sequence[Call]) -> None:
        self.gate = gate
        self.calls = calls
        self.at_gate = [round(walks.from_gate_s(gate, call.store) * 1000) for call in calls]
        self.way = [
            [round(walks.between_s(one.store, other.store) * 1000) for other in calls]
            for one in calls
        ]

    def tour(self, order: Sequence[int]) -> Tour:
        """The tour of this order."""
        first, last = order[0], order[-1]
        collect_ms = self.at_gate[first] + self.calls[first].service_ms
        ready_ms = self.calls[first].ready_ms
        for one, other in pairwise(order):
            step_ms = self.way[one][other] + self.calls[other].service_ms
            collect_ms += step_ms
            ready_ms = max(ready_ms + step_ms, self.calls[other].ready_ms)
        return Tour(self.gate, tuple(order), collect_ms, ready_ms, self.at_gate[last])


def _tour(ways: _Ways, arrive_ms: int | None) -> Tour:
    """The best order from this gate; None: as if all were ready."""
    n = len(ways.calls)
    if n <= _BY_HAND:
        tours = [ways.tour(order) for order in permutations(range(n))]
        if arrive_ms is None:
            return min(tours, key=_walk_ms)
        return min(tours, key=lambda tour: (tour.done_ms(arrive_ms) + tour.back_ms, _walk_ms(tour)))
    if n > EXACT_STORES:
        return ways.tour(_one_by_one(ways, arrive_ms))
    return ways.tour(_Tables(ways).order(arrive_ms))


def _one_by_one(ways: _Ways, arrive_ms: int | None) -> list[int]:
    left = list(range(len(ways.calls)))
    at_ms, from_ms = arrive_ms or 0, ways.at_gate
    order: list[int] = []
    while left:

        def in_hand_ms(j: int, at_ms: int = at_ms, from_ms: list[int] = from_ms) -> int:
            there_ms = at_ms + from_ms[j] + ways.calls[j].service_ms
            return there_ms if arrive_ms is None else max(there_ms, ways.calls[j].ready_ms)

        chosen = min(left, key=in_hand_ms)
        at_ms, from_ms = in_hand_ms(chosen), ways.way[chosen]
        left.remove(chosen)
        order.append(chosen)
    return order


class _Tables:
    """Held and Karp's tables over the sets of stores, as bits: row by set, column by store."""

    def __init__(self, ways: _Ways) -> None:
        self._n = len(ways.calls)
        self._way: _Table = np.array(ways.way, dtype=np.int64)
        self._at_gate: _Table = np.array(ways.at_gate, dtype=np.int64)
        self._hand: _Table = np.array([call.service_ms for call in ways.calls], dtype=np.int64)
        self._ready: _Table = np.array([call.ready_ms for call in ways.calls], dtype=np.int64)

    def order(self, arrive_ms: int | None) -> list[int]:
        """The order that is back first, and of those the one with the shortest walk."""
        back_ms = _NEVER
        if arrive_ms is not None:
            back_ms = int(np.min(self._in_hand(arrive_ms)[-1] + self._at_gate))
        return self._walk(self._rest(self._at_gate, back_ms))

    def order_to(self, last: int, done_ms: int) -> list[int]:
        """The shortest walk that ends at the store ``last`` and has its parcels by then; none if
        there is none."""
        end = np.full(self._n, _NEVER, dtype=np.int64)
        end[last] = 0
        return self._walk(self._rest(end, done_ms))

    def _walk(self, rest: _Table) -> list[int]:
        """The order whose walk is the shortest, by how long the rest is from each store on."""
        everything = (1 << self._n) - 1
        first = np.array([rest[everything ^ (1 << j), j] for j in range(self._n)])
        chosen = int(np.argmin(self._at_gate + self._hand + first))
        if first[chosen] >= _NEVER:
            return []
        order, left = [chosen], everything ^ (1 << chosen)
        while left:
            onward = [
                self._way[chosen, j] + self._hand[j] + rest[left ^ (1 << j), j]
                if left >> j & 1
                else _NEVER
                for j in range(self._n)
            ]
            chosen = int(np.argmin(onward))
            order.append(chosen)
            left ^= 1 << chosen
        return order

    def _in_hand(self, arrive_ms: int) -> _Table:
        """(sets, n): when the set's parcels are in hand, the column's last."""
        n = self._n
        table = np.full((1 << n, n), _NEVER, dtype=np.int64)
        stores = np.arange(n)
        table[1 << stores, stores] = np.maximum(arrive_ms + self._at_gate + self._hand, self._ready)
        for sets in _sets_by_size(n)[2:]:
            row, store = np.nonzero(sets[:, None] >> stores & 1)
            before = sets[row] ^ (1 << store)
            there = np.min(table[before] + self._way.T[store], axis=1)
            in_hand = np.maximum(there + self._hand[store], self._ready[store])
            table[sets[row], store] = np.minimum(in_hand, _NEVER)
        return table

    def _rest(self, end: _Table, by_ms: int) -> _Table:
        """(sets, n): the shortest walk from the column's store, its parcels in hand, through the
        set and to the ``end`` (n,); never, if the store is ready too late for being there then."""
        n = self._n
        stores = np.arange(n)
        table = np.full((1 << n, n), _NEVER, dtype=np.int64)
        for size, sets in enumerate(_sets_by_size(n)[:-1]):
            if size == 0:
                rest = end[None, :]
            else:
                is_in = (sets[:, None] >> stores & 1).astype(bool)
                further = table[np.where(is_in, sets[:, None] ^ (1 << stores), 0), stores]
                onward = np.where(is_in, self._hand + further, _NEVER)
                rest = np.min(self._way[None, :, :] + onward[:, None, :], axis=2)
            in_time = self._ready + rest <= by_ms
            table[sets] = np.where(in_time, np.minimum(rest, _NEVER), _NEVER)
        return table


@cache
def _sets_by_size(n: int) -> tuple[_Table, ...]:
    """The sets of n stores as bits, by how many are in them."""
    sizes = np.array([mask.bit_count() for mask in range(1 << n)])
    return tuple(np.nonzero(sizes == size)[0].astype(np.int64) for size in range(n + 1))
