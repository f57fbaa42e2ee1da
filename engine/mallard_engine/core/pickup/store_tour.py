"""The order in which a driver visits the stores of a mall, from a gate and back to it.

The best order brings the driver back to the car first; among equals, it has the shortest walk. So
a driver does not wait at a store while the parcels of another are ready. Service at a store may
begin before its parcels are ready, and ends no sooner.

For a given order, all parcels are in hand at `max(arrival + collect_ms, ready_ms)` with constants
of that order. So the order is computed once a job, and each driver's time is one comparison.

Exact up to `EXACT_STORES` by dynamic programming over sets of visited stores (Held and Karp 1962,
with release times): being at a store earlier, with the same stores visited, is never worse. Beyond,
greedily the store whose parcels are in hand first.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise, permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.places.walking import Walks

EXACT_STORES = 10

# Up to this number of stores, trying every order costs less than building the tables.
_ENUMERATED = 3
_NEVER = 1 << 60
# An arrival at which everything is ready.
_ALL_READY_MS = 1 << 50

_Table = NDArray[np.int64]


class Call(NamedTuple):
    """A call at one store; `service_ms` is the service time at its counter."""

    store: str
    ready_ms: int
    service_ms: int


class Tour(NamedTuple):
    """A tour of stores.

    `order`: indexes of the calls; `collect_ms`: from the gate until the last parcel is in hand, if
    all are ready; `ready_ms`: the last parcel is in hand no sooner; `back_ms`: from the last store
    to the gate.
    """

    gate: str
    order: tuple[int, ...]
    collect_ms: int
    ready_ms: int
    back_ms: int

    def done_ms(self, arrive_ms: int) -> int:
        """Return when the last parcel is in hand."""
        return max(arrive_ms + self.collect_ms, self.ready_ms)


def best_tour(walks: Walks, gates: Sequence[str], calls: Sequence[Call], arrive_ms: int) -> Tour:
    """Return the best tour for a driver who is at the gate at `arrive_ms`.

    The gate does not depend on ready times, so it does not change while the driver is on the way.

    Args:
        walks: The mall's walking times.
        gates: Where the driver may park; the gate with the shortest walk is chosen, the first on a
            tie.
        calls: The stores to visit, at least one.
        arrive_ms: Arrival at the gate in epoch milliseconds.

    Raises:
        KeyError: A store or gate is not the mall's.
        ValueError: There are no calls.
    """
    if not calls:
        raise ValueError("there is nothing to collect")
    choices = tuple(dict.fromkeys(gates))
    if len(calls) == 1:
        return min((_WalkTimes(walks, gate, calls).tour((0,)) for gate in choices), key=_walk_ms)
    # If everything is ready on arrival, the order does not depend on the arrival.
    waits = any(call.ready_ms > arrive_ms for call in calls)
    asked = tuple(calls) if waits else tuple([call._replace(ready_ms=0) for call in calls])
    gate, order = _best_order(walks, choices, asked, arrive_ms if waits else None)
    return _WalkTimes(walks, gate, calls).tour(order)


@lru_cache(maxsize=2_048)
def _best_order(
    walks: Walks, gates: tuple[str, ...], calls: tuple[Call, ...], arrive_ms: int | None
) -> tuple[str, tuple[int, ...]]:
    """Compute gate and order; cached, as a queued job is ranked in many rounds."""
    by_gate = {gate: _WalkTimes(walks, gate, calls) for gate in gates}
    best = min([_tour(times, None) for times in by_gate.values()], key=_walk_ms)
    if arrive_ms is not None:
        best = _tour(by_gate[best.gate], arrive_ms)
    return best.gate, best.order


def tour_done_by(
    walks: Walks, gates: Sequence[str], calls: Sequence[Call], done_ms: int
) -> Tour | None:
    """Return the shortest tour with the last parcel in hand by `done_ms` for an early arrival.

    It reconstructs the tour of a driver of whom only that time is known: the order for which the
    time was computed is among the candidates. None if no order is in time.

    Raises:
        KeyError: A store or gate is not the mall's.
        ValueError: There are no calls.
    """
    gate = best_tour(walks, gates, calls, _ALL_READY_MS).gate
    order = _order_done_by(walks, gate, tuple(calls), done_ms)
    return _WalkTimes(walks, gate, calls).tour(order) if order else None


@lru_cache(maxsize=2_048)
def _order_done_by(
    walks: Walks, gate: str, calls: tuple[Call, ...], done_ms: int
) -> tuple[int, ...]:
    """Return the order of that tour; empty if there is none."""
    times = _WalkTimes(walks, gate, calls)
    n = len(calls)
    if n <= _ENUMERATED:
        tours = [times.tour(order) for order in permutations(range(n))]
    elif n > EXACT_STORES:
        tours = [times.tour(_one_by_one(times, None))]
    else:
        tables = _Tables(times)
        orders = [tables.order_to(last, done_ms) for last in range(n)]
        tours = [times.tour(order) for order in orders if order]
    feasible = [tour for tour in tours if tour.ready_ms <= done_ms]
    return min(feasible, key=_walk_ms).order if feasible else ()


def _walk_ms(tour: Tour) -> int:
    return tour.collect_ms + tour.back_ms


class _WalkTimes:
    """Walking times of one gate and n calls in ms: `walk` (n, n), `at_gate` (n,)."""

    __slots__ = ("at_gate", "calls", "gate", "walk")

    def __init__(self, walks: Walks, gate: str, calls: Sequence[Call]) -> None:
        self.gate = gate
        self.calls = calls
        self.at_gate = [round(walks.from_gate_s(gate, call.store) * 1000) for call in calls]
        self.walk = [
            [round(walks.between_s(one.store, other.store) * 1000) for other in calls]
            for one in calls
        ]

    def tour(self, order: Sequence[int]) -> Tour:
        """Return the tour of this order."""
        first, last = order[0], order[-1]
        collect_ms = self.at_gate[first] + self.calls[first].service_ms
        ready_ms = self.calls[first].ready_ms
        for one, other in pairwise(order):
            step_ms = self.walk[one][other] + self.calls[other].service_ms
            collect_ms += step_ms
            ready_ms = max(ready_ms + step_ms, self.calls[other].ready_ms)
        return Tour(self.gate, tuple(order), collect_ms, ready_ms, self.at_gate[last])


def _tour(times: _WalkTimes, arrive_ms: int | None) -> Tour:
    """Return the best tour from this gate; `arrive_ms` None: as if all were ready."""
    n = len(times.calls)
    if n <= _ENUMERATED:
        tours = [times.tour(order) for order in permutations(range(n))]
        if arrive_ms is None:
            return min(tours, key=_walk_ms)
        return min(tours, key=lambda tour: (tour.done_ms(arrive_ms) + tour.back_ms, _walk_ms(tour)))
    if n > EXACT_STORES:
        return times.tour(_one_by_one(times, arrive_ms))
    return times.tour(_Tables(times).order(arrive_ms))


def _one_by_one(times: _WalkTimes, arrive_ms: int | None) -> list[int]:
    left = list(range(len(times.calls)))
    at_ms, from_ms = arrive_ms or 0, times.at_gate
    order: list[int] = []
    while left:

        def in_hand_ms(j: int, at_ms: int = at_ms, from_ms: list[int] = from_ms) -> int:
            there_ms = at_ms + from_ms[j] + times.calls[j].service_ms
            return there_ms if arrive_ms is None else max(there_ms, times.calls[j].ready_ms)

        chosen = min(left, key=in_hand_ms)
        at_ms, from_ms = in_hand_ms(chosen), times.walk[chosen]
        left.remove(chosen)
        order.append(chosen)
    return order


class _Tables:
    """Held and Karp's tables: a row for each set of stores (as bits), a column for each store."""

    def __init__(self, times: _WalkTimes) -> None:
        self._n = len(times.calls)
        self._walk_ms: _Table = np.array(times.walk, dtype=np.int64)
        self._at_gate: _Table = np.array(times.at_gate, dtype=np.int64)
        self._service: _Table = np.array([call.service_ms for call in times.calls], dtype=np.int64)
        self._ready: _Table = np.array([call.ready_ms for call in times.calls], dtype=np.int64)

    def order(self, arrive_ms: int | None) -> list[int]:
        """Return the order that is back first; among equals, the one with the shortest walk."""
        back_ms = _NEVER
        if arrive_ms is not None:
            back_ms = int(np.min(self._in_hand(arrive_ms)[-1] + self._at_gate))
        return self._walk(self._rest(self._at_gate, back_ms))

    def order_to(self, last: int, done_ms: int) -> list[int]:
        """Return the shortest order that ends at `last` with its parcels in hand by `done_ms`.

        Empty if there is none.
        """
        end = np.full(self._n, _NEVER, dtype=np.int64)
        end[last] = 0
        return self._walk(self._rest(end, done_ms))

    def _walk(self, rest: _Table) -> list[int]:
        """Reconstruct the shortest order from the table of remaining walks."""
        everything = (1 << self._n) - 1
        first = np.array([rest[everything ^ (1 << j), j] for j in range(self._n)])
        chosen = int(np.argmin(self._at_gate + self._service + first))
        if first[chosen] >= _NEVER:
            return []
        order, left = [chosen], everything ^ (1 << chosen)
        while left:
            onward = [
                self._walk_ms[chosen, j] + self._service[j] + rest[left ^ (1 << j), j]
                if left >> j & 1
                else _NEVER
                for j in range(self._n)
            ]
            chosen = int(np.argmin(onward))
            order.append(chosen)
            left ^= 1 << chosen
        return order

    def _in_hand(self, arrive_ms: int) -> _Table:
        """Return when a set's parcels are in hand, the column's store last: shape (sets, n)."""
        n = self._n
        table = np.full((1 << n, n), _NEVER, dtype=np.int64)
        stores = np.arange(n)
        table[1 << stores, stores] = np.maximum(
            arrive_ms + self._at_gate + self._service, self._ready
        )
        for sets in _sets_by_size(n)[2:]:
            row, store = np.nonzero(sets[:, None] >> stores & 1)
            before = sets[row] ^ (1 << store)
            there = np.min(table[before] + self._walk_ms.T[store], axis=1)
            in_hand = np.maximum(there + self._service[store], self._ready[store])
            table[sets[row], store] = np.minimum(in_hand, _NEVER)
        return table

    def _rest(self, end: _Table, by_ms: int) -> _Table:
        """Return the shortest remaining walk from the column's store through the set: (sets, n).

        It starts with the store's parcels in hand and ends at `end` (n,) by `by_ms`; `_NEVER` if
        the store's parcels are ready too late for that.
        """
        n = self._n
        stores = np.arange(n)
        table = np.full((1 << n, n), _NEVER, dtype=np.int64)
        for size, sets in enumerate(_sets_by_size(n)[:-1]):
            if size == 0:
                rest = end[None, :]
            else:
                is_in = (sets[:, None] >> stores & 1).astype(bool)
                further = table[np.where(is_in, sets[:, None] ^ (1 << stores), 0), stores]
                onward = np.where(is_in, self._service + further, _NEVER)
                rest = np.min(self._walk_ms[None, :, :] + onward[:, None, :], axis=2)
            feasible = self._ready + rest <= by_ms
            table[sets] = np.where(feasible, np.minimum(rest, _NEVER), _NEVER)
        return table


@cache
def _sets_by_size(n: int) -> tuple[_Table, ...]:
    """Return the sets of n stores as bits, grouped by their size."""
    sizes = np.array([mask.bit_count() for mask in range(1 << n)])
    return tuple(np.nonzero(sizes == size)[0].astype(np.int64) for size in range(n + 1))
