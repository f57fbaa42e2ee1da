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
"""The qualification of robots, which nobody else has."""


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


MEANINGS: Final[Mapping[Ending, str]] = MappingProxyType(
    {
        Ending.DELIVERED: "all goes well; the default",
        Ending.DECLINED_THEN_DELIVERED: "the first robot declines, another one delivers",
        Ending.NO_DRIVER: "every robot declines, until the order has had too many rounds",
        Ending.CANCELLED: "the operator cancels when the robot is at the mall",
        Ending.CANCELLED_BY_DRIVER: "the robot gives up at the mall, another one delivers",
        Ending.LATE: "the robot reports `not_ready`, waits and delivers",
        Ending.WRONG_CODE: "the robot's first pickup code is wrong; it needs a `pickup_code`",
        Ending.SHORT: "one parcel too few; `on_short` decides; it needs two parcels",
        Ending.MISSING: "no parcels: held as `on_missing` says, and missing again",
        Ending.HELD: "no parcels: held as `on_missing` says; the shop finds them",
        Ending.CUSTOMER_OUT: "`customer_unreachable`; `on_undeliverable` or your answer decides",
        Ending.REFUSED: "the customer refuses; the parcels go back at once",
        Ending.WRONG_ADDRESS: "`wrong_address`; `on_undeliverable` or your answer decides",
        Ending.UNDELIVERABLE_LEFT: "`customer_unreachable`, and the operator answers `leave`",
        Ending.TURNED_ROUND: "the robot turns back, then turns round once more and delivers",
        Ending.BREAKDOWN: "the robot breaks down with the parcels; a transfer to another one",
        Ending.LOST: "the robot loses the parcels, and the operator closes the job",
        Ending.YOUR_DRIVER: "no robot is asked, only drivers of your own; what they do decides",
    }
)
"""What happens, by ending."""

FINAL_STATES: Final[Mapping[Ending, JobState]] = MappingProxyType(
    {
        **dict.fromkeys(set(Ending) - {Ending.YOUR_DRIVER}, JobState.DELIVERED),
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
and that nobody changes, cancels or answers."""
