"""Determines why a driver gets no offers although it wants them.

Being offline, busy or paused is not among the reasons: these are the driver's shown state.
"""

from mallard_engine.core.model import Driver
from mallard_protocol.codes import BarredWhy


def barred(
    driver: Driver, now_ms: int, stale_after_ms: float, *, market_paused: bool = False
) -> tuple[BarredWhy, int | None] | None:
    """Return the first reason that applies and when it ends; None without a reason.

    Reasons that only an operator or the driver can end come first, and have no end.

    Args:
        driver: the driver.
        now_ms: the time.
        stale_after_ms: how long a position is valid after it was received.
        market_paused: whether an operator has paused the whole market.
    """
    placed = driver.position
    reasons = (
        (BarredWhy.SUSPENDED, driver.suspended),
        (BarredWhy.MARKET_PAUSED, market_paused),
        (BarredWhy.BLOCK_OVER, driver.block_over or 0 < (driver.until_ms or 0) <= now_ms),
        (BarredWhy.UNREACHABLE, driver.unreachable),
        (BarredWhy.NO_POSITION, placed is None),
        (BarredWhy.STALE, placed is not None and now_ms - placed.received_ms > stale_after_ms),
    )
    for why, applies in reasons:
        if applies:
            return why, None
    if driver.cool_until_ms > now_ms:
        return BarredWhy.COOLING_DOWN, driver.cool_until_ms
    return None
