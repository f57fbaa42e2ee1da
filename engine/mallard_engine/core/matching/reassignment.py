"""Make before break: whether somebody else would collect a job sooner than its late holder."""

from collections.abc import Sequence

from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import Position, RankedDriver
from mallard_engine.core.places.mall import Gate


def expected_ms(position: Position, gate: Gate, now_ms: int, travel: TravelTime) -> int:
    """When a holder is at the gate if it drives on, as in a tunnel, from where and when it was last
    seen. Epoch ms, never before now. This is careful: it may have stopped."""
    way_s = travel.seconds(position.lat, position.lon, gate.lat, gate.lon, position.received_ms)
    return max(now_ms, position.received_ms + round(way_s * 1000))


def has_slipped(
    expected_gate_ms: int, promised_ms: int | None, collect_ms: int, stuck_after_s: float
) -> bool:
    """Whether a holder is expected at the gate so much later than was promised. Standing still for
    a while moves what is expected by as much. ``promised_ms``: when it was first expected to have
    the parcel; ``collect_ms``: from the gate to the parcel in hand; where the parcel itself is
    late, it is that which counts."""
    if promised_ms is None:
        return False
    return expected_gate_ms - (promised_ms - collect_ms) >= stuck_after_s * 1000


def earlier(
    ranked: Sequence[RankedDriver], holder_ms: int, now_ms: int, offer_timeout_ms: int
) -> tuple[RankedDriver, ...]:
    """Of those ranked, in their order, who is at the gate before ``holder_ms`` even if it answers
    its offer at the last moment."""
    sets_off_ms = now_ms + offer_timeout_ms
    return tuple([it for it in ranked if it.eligible and sets_off_ms + it.eta_s * 1000 < holder_ms])
