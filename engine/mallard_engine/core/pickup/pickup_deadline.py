"""The pickup deadline of a job, and its move to the mall's next opening.

Parcels are collected while the mall and the stores to visit are open, and before the job expires.
A job that no driver can collect before closing moves to the next opening, unless it expires before
that.
"""

from dataclasses import replace

from mallard_engine.core.model import Need
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.opening_hours import next_collection_ms, opening_at


def collect_by_ms(mall: Mall, need: Need, now_ms: int) -> int:
    """Return the latest time (epoch ms) at which the parcels may be in hand.

    It is the earlier of the job's expiry and the end of the opening in which the parcels are ready;
    0 if the mall is closed when they are ready, as no driver can collect them then.
    """
    at_ms = max(now_ms, need.ready_ms)
    opening = opening_at(mall.hours_of(need.visits), at_ms)
    if opening.from_ms > at_ms:
        return 0
    return need.expires_ms if opening.to_ms is None else min(opening.to_ms, need.expires_ms)


def last_call_ms(mall: Mall, need: Need, collect_ms: int, now_ms: int) -> int | None:
    """Return when a driver must be at the gate to collect before closing; None: it never closes.

    `collect_ms` is the time from the gate until the parcels are in hand.
    """
    closes_ms = opening_at(mall.hours_of(need.visits), max(now_ms, need.ready_ms)).to_ms
    return None if closes_ms is None else closes_ms - collect_ms


def at_next_opening(mall: Mall, need: Need, collect_ms: int, now_ms: int) -> Need | None:
    """Return the need of a job that must move to a later opening: ready when the mall opens.

    `collect_ms` is the time from the gate until the parcels are in hand.

    Returns:
        None if a driver at the gate could still collect it in the present opening, or if no later
        opening is before its expiry.
    """
    at_ms = max(now_ms, need.ready_ms)
    needs_ms = max(now_ms + collect_ms - at_ms, 0)
    opens_ms, _ = next_collection_ms(mall.hours_of(need.visits), at_ms, needs_ms)
    if opens_ms == at_ms or opens_ms + collect_ms > need.expires_ms:
        return None
    return ready_no_sooner(need, opens_ms)


def ready_no_sooner(need: Need, opens_ms: int) -> Need:
    """Return the need with no parcel ready before `opens_ms`; unchanged if it is ready later."""
    if opens_ms <= need.ready_ms:
        return need
    each_ms = tuple(max(at_ms, opens_ms) for at_ms in need.store_ready_ms)
    return replace(need, ready_ms=opens_ms, store_ready_ms=each_ms)
