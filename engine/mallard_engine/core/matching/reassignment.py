"""Decides whether the driver of a job is late, and which drivers would be earlier."""

from collections.abc import Sequence

from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import Position, RankedDriver
from mallard_engine.core.places.mall import Gate


def expected_ms(position: Position, gate: Gate, now_ms: int, travel: TravelTime) -> int:
    """Return when a holder reaches the gate if it has kept driving since its last position.

    Epoch ms, never before now. Optimistic on purpose, as in a tunnel: the holder may have stopped.
    """
    way_s = travel.seconds(position.lat, position.lon, gate.lat, gate.lon, position.received_ms)
    return max(now_ms, position.received_ms + round(way_s * 1000))


def has_slipped(
    expected_gate_ms: int, promised_ms: int | None, collect_ms: int, stuck_after_s: float
) -> bool:
    """Return whether a holder is expected at the gate `stuck_after_s` later than promised.

    A driver who stands still is expected later by as much.

    Args:
        expected_gate_ms: When the holder is expected at the gate (epoch ms).
        promised_ms: When it was first expected to have the parcel (epoch ms), which includes the
            wait for a late parcel; None if unknown.
        collect_ms: From the gate until the parcel is in hand.
        stuck_after_s: The policy's `stuck_after_s`.
    """
    if promised_ms is None:
        return False
    return expected_gate_ms - (promised_ms - collect_ms) >= stuck_after_s * 1000


def earlier(
    ranked: Sequence[RankedDriver], holder_ms: int, now_ms: int, offer_timeout_ms: int
) -> tuple[RankedDriver, ...]:
    """Return the eligible drivers who reach the gate before `holder_ms`, in their order.

    They must do so even if they answer the offer at the last moment.
    """
    sets_off_ms = now_ms + offer_timeout_ms
    return tuple([it for it in ranked if it.eligible and sets_off_ms + it.eta_s * 1000 < holder_ms])
