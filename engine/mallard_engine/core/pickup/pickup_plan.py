"""Pickup plans: the gate, the tour of the stores and its duration, for one job or a run."""

from collections.abc import Callable, Sequence

from mallard_engine.core.model import Need
from mallard_engine.core.pickup.store_tour import Call, Tour, best_tour, tour_done_by
from mallard_engine.core.places.mall import Mall

MINUTE_MS = 60_000
"""The resolution at which `job_tour` and `run_tour` know when a driver arrives."""

# Drivers close to the limit of a job are asked within seconds.
_MINUTES_EXAMINED = 4

ServiceTime = Callable[[str, str], float]
"""The service time at a store's counter in seconds, by mall id and store id."""


def job_tour(mall: Mall, need: Need, service_time: ServiceTime, arrive_ms: int) -> Tour:
    """Return the tour of the stores that a job must visit, for a driver who arrives at `arrive_ms`.

    The order of the stores is chosen for the arrival rounded up to a minute, so that it can be
    cached.

    Raises:
        KeyError: The mall does not have one of the stores.
    """
    visits = need.visits
    if len(visits) == 1:
        # The usual case: one store, so no choice of order.
        (store,) = visits
        place = mall.stores[store]
        walk_ms = place.walk_s * 1000
        collect_ms = walk_ms + int(service_time(mall.id, store) * 1000)
        ready_ms = need.visits_ready_ms[0] if need.done else need.ready_ms
        return Tour(place.gate, (0,), collect_ms, ready_ms, walk_ms)
    gates, calls = _calls(mall, need, service_time)
    return best_tour(mall.walks, gates, calls, _next_minute_ms(arrive_ms))


def arrive_by_ms(tour_of: Callable[[int], Tour], arrive_ms: int, by_ms: int) -> int:
    """Return until when a driver may arrive to have the last parcel in hand by `by_ms`.

    Each driver takes the tour that is best for its own arrival, `tour_of`, which changes from
    minute to minute while parcels are not ready. A driver who arrives from `arrive_ms` until
    the result is in time. The result is before `arrive_ms` if the driver who arrives then is
    late; it may be too early, as only a few minutes are examined.
    """
    latest_ms, minute_ms = arrive_ms - 1, _next_minute_ms(arrive_ms)
    for _ in range(_MINUTES_EXAMINED):
        tour = tour_of(minute_ms)
        last_ms = min(minute_ms, by_ms - tour.collect_ms) if tour.ready_ms <= by_ms else 0
        latest_ms = max(latest_ms, last_ms)
        if last_ms < minute_ms:
            break
        minute_ms += MINUTE_MS
    return latest_ms


def _next_minute_ms(at_ms: int) -> int:
    return -(-at_ms // MINUTE_MS) * MINUTE_MS


def job_tour_done_by(
    mall: Mall, need: Need, service_time: ServiceTime, done_ms: int
) -> Tour | None:
    """Return the tour of a driver of whom only the time of the last parcel is known.

    Returns:
        The shortest tour with the last parcel in hand by `done_ms`; None if there is none.
    """
    if len(need.visits) == 1:
        return job_tour(mall, need, service_time, done_ms)
    return tour_done_by(mall.walks, *_calls(mall, need, service_time), done_ms)


def _calls(mall: Mall, need: Need, service_time: ServiceTime) -> tuple[list[str], list[Call]]:
    """Return the gates of a job's stores, and the calls at the stores."""
    visits = need.visits
    calls = [
        Call(store, at_ms, int(service_time(mall.id, store) * 1000))
        for store, at_ms in zip(visits, need.visits_ready_ms, strict=True)
    ]
    return [mall.stores[store].gate for store in visits], calls


def service_times(mall_of: Callable[[str], Mall], prior_s: float) -> ServiceTime:
    """Return the service times without any learnt ones.

    They are a store's own from the places file, else `prior_s`. The result raises `KeyError` for a
    store that the mall does not have.
    """

    def seconds(mall: str, store: str) -> float:
        own_s = mall_of(mall).stores[store].handover_s
        return prior_s if own_s is None else own_s

    return seconds


def run_tour(
    mall: Mall,
    needs: Sequence[Need],
    service_time: ServiceTime,
    arrive_ms: int,
    gate: str | None = None,
) -> Tour:
    """Return the tour of several jobs' stores, each store once, for an arrival at `arrive_ms`.

    As in `job_tour`, the order is chosen for the arrival rounded up to a minute. `gate` fixes where
    the driver parks; None: the gate with the shortest walk.

    Raises:
        KeyError: The mall does not have one of the stores.
    """
    if len(needs) == 1 and gate is None:
        return job_tour(mall, needs[0], service_time, arrive_ms)
    ready_ms: dict[str, int] = {}
    for need in needs:
        for store, at_ms in zip(need.visits, need.visits_ready_ms, strict=True):
            ready_ms[store] = max(ready_ms.get(store, 0), at_ms)
    calls = [
        Call(store, at_ms, int(service_time(mall.id, store) * 1000))
        for store, at_ms in ready_ms.items()
    ]
    gates = [gate] if gate is not None else [mall.stores[store].gate for store in ready_ms]
    return best_tour(mall.walks, gates, calls, _next_minute_ms(arrive_ms))


def tour_when_ready(mall: Mall, need: Need, service_time: ServiceTime, now_ms: int) -> Tour:
    """Return the tour for a driver who has the last parcel when it is ready, or as soon after."""
    tour = job_tour(mall, need, service_time, max(now_ms, need.ready_ms))
    if len(need.visits) == 1:
        return tour
    return job_tour(mall, need, service_time, max(now_ms, need.ready_ms - tour.collect_ms))
