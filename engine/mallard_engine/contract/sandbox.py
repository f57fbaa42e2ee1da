"""The sandbox: a market whose robot drivers bring each job to the ending that its order names.

An order names it by ``metadata.sandbox``, with a value of `Ending`; without one it is `DELIVERED`.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from mallard_protocol.lifecycle import JobState

KEY: Final = "sandbox"
"""The key of an order's ``metadata`` that names the ending."""

PIN: Final = "1234"
"""The PIN that robots give at every door; an order with another one is brought back."""


ROBOT: Final = "sandbox:robot"
"""The qualification that only robots have."""


class Ending(StrEnum):
    """How a job of the sandbox goes."""

    DELIVERED = "delivered"
    DECLINED_THEN_DELIVERED = "declined_then_delivered"
    NO_DRIVER = "no_driver"
    CANCELLED = "cancelled"
    CANCELLED_BY_DRIVER = "cancelled_by_driver"
    LATE = "late"
    WRONG_CODE = "wrong_code"
    SHORT = "short"
    MISSING = "missing"
    HELD = "held"
    CUSTOMER_OUT = "customer_out"
    REFUSED = "refused"
    WRONG_ADDRESS = "wrong_address"
    UNDELIVERABLE_LEFT = "undeliverable_left"
    TURNED_ROUND = "turned_round"
    BREAKDOWN = "breakdown"
    LOST = "lost"
    YOUR_DRIVER = "your_driver"


FINAL_STATES: Final[Mapping[Ending, JobState]] = MappingProxyType(
    {
        **dict.fromkeys((it for it in Ending if it != Ending.YOUR_DRIVER), JobState.DELIVERED),
        Ending.NO_DRIVER: JobState.EXPIRED,
        Ending.CANCELLED: JobState.CANCELLED,
        Ending.MISSING: JobState.FAILED,
        Ending.CUSTOMER_OUT: JobState.RETURNED,
        Ending.REFUSED: JobState.RETURNED,
        Ending.WRONG_ADDRESS: JobState.RETURNED,
        Ending.LOST: JobState.LOST,
    }
)
"""The final state by ending, of an order that leaves ``on_short`` and the like at their defaults
and that is not changed, cancelled or answered."""
