"""Make before break: whether somebody else would collect a job sooner than its silent holder."""

from collections.abc import Sequence

from engine.core.eta import TravelTime
from engine.core.mall import Gate
from engine.core.model import Position, RankedDriver


def expected_ms(position: Position, gate: Gate, now_ms: int, travel: TravelTime) -> int:
    """When a silent holder is at the gate if it drives on, as in a tunnel, from where and when it
    was last seen. Epoch ms, never before now. This is careful: it may have stopped."""
    way_s = travel.seconds(position.lat, position.lon, gate.lat, gate.lon, position.received_ms)
    return max(now_ms, position.received_ms + round(way_s * 1000))


def earlier(
    ranked: Sequence[RankedDriver], holder_ms: int, now_ms: int, offer_timeout_ms: int
) -> tuple[RankedDriver, ...]:
    """Of those ranked, in their order, who is at the gate before ``holder_ms`` even if it answers
    its offer at the last moment."""
    sets_off_ms = now_ms + offer_timeout_ms
    return tuple([it for it in ranked if it.eligible and sets_off_ms + it.eta_s * 1000 < holder_ms])
