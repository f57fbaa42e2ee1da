"""What a job asks of whoever collects it: which gate, which way through the stores, how long."""

from collections.abc import Callable, Mapping, Sequence

from mallard_engine.core.model import Need
from mallard_engine.core.pickup.store_tour import Call, Tour, best_tour, tour_done_by
from mallard_engine.core.places.mall import Mall

MINUTE_MS = 60_000
"""The resolution at which `job_tour` knows when a driver arrives."""

ServiceTime = Callable[[str, str], float]
"""Seconds at a store's counter, by mall and store."""


def job_tour(mall: Mall, need: Need, service_time: ServiceTime, arrive_ms: int) -> Tour:
    """The way through a job's stores for a driver who comes about then.

    An arrival to the minute will do: the order is the same for all who come about then, and is
    remembered. :raises KeyError: for a store that the mall does not have
    """
    if len(need.stores) == 1:
        # Nearly every job: there is nothing to choose.
        (store,) = need.stores
        place = mall.stores[store]
        walk_ms = place.walk_s * 1000
        collect_ms = walk_ms + int(service_time(mall.id, store) * 1000)
        return Tour(place.gate, (0,), collect_ms, need.ready_ms, walk_ms)
    gates, calls = _calls(mall, need, service_time)
    return best_tour(mall.walks, gates, calls, -(-arrive_ms // MINUTE_MS) * MINUTE_MS)


def job_tour_done_by(
    mall: Mall, need: Need, service_time: ServiceTime, done_ms: int
) -> Tour | None:
    """The way of a driver of whom it is known only when it is to have the last parcel; None if
    there is none that does."""
    if len(need.stores) == 1:
        return job_tour(mall, need, service_time, done_ms)
    return tour_done_by(mall.walks, *_calls(mall, need, service_time), done_ms)


def _calls(mall: Mall, need: Need, service_time: ServiceTime) -> tuple[list[str], list[Call]]:
    """The gates of a job's stores, and what is to be done there."""
    ready_ms = need.store_ready_ms or (need.ready_ms,) * len(need.stores)
    calls = [
        Call(store, at_ms, int(service_time(mall.id, store) * 1000))
        for store, at_ms in zip(need.stores, ready_ms, strict=True)
    ]
    return [mall.stores[store].gate for store in need.stores], calls


def service_times(malls: Mapping[str, Mall], prior_s: float) -> ServiceTime:
    """Return the service times that hold before any are learnt: a store's own from its places file,
    else `prior_s`. They raise `KeyError` for a store that the mall does not have."""

    def seconds(mall: str, store: str) -> float:
        told_s = malls[mall].stores[store].handover_s
        return prior_s if told_s is None else told_s

    return seconds


def run_tour(
    mall: Mall,
    needs: Sequence[Need],
    service_time: ServiceTime,
    arrive_ms: int,
    gate: str | None = None,
) -> Tour:
    """The way through the stores of several jobs, each store once, for a driver who comes then.
    ``gate``: where it parks in any case.

    :raises KeyError: for a store that the mall does not have
    """
    if len(needs) == 1 and gate is None:
        return job_tour(mall, needs[0], service_time, arrive_ms)
    ready_ms: dict[str, int] = {}
    for need in needs:
        each_ms = need.store_ready_ms or (need.ready_ms,) * len(need.stores)
        for store, at_ms in zip(need.stores, each_ms, strict=True):
            ready_ms[store] = max(ready_ms.get(store, 0), at_ms)
    calls = [
        Call(store, at_ms, int(service_time(mall.id, store) * 1000))
        for store, at_ms in ready_ms.items()
    ]
    gates = [gate] if gate is not None else [mall.stores[store].gate for store in ready_ms]
    return best_tour(mall.walks, gates, calls, arrive_ms)


def tour_when_ready(mall: Mall, need: Need, service_time: ServiceTime, now_ms: int) -> Tour:
    """The same for a driver who is sent so that it has the last parcel when that is ready."""
    tour = job_tour(mall, need, service_time, max(now_ms, need.ready_ms))
    if len(need.stores) == 1:
        return tour
    return job_tour(mall, need, service_time, max(now_ms, need.ready_ms - tour.collect_ms))
