"""The events of a bad day, and the seeded choice of what they happen to.

Pure: each choice depends on the seed and on names only (of an order, of a driver and the number of
its run, of a shop), never on the time at which something happens. Two runs of one day therefore
have the same events, however the engine matches.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from mallard_protocol.messages import ProblemKind


class BadEvent(StrEnum):
    """One kind of trouble; the value is its name on the command line."""

    MISSING = "missing"
    SHORT = "short"
    LATE = "late"
    WRONG_CODE = "wrong_code"
    CUSTOMER_OUT = "customer_out"
    REFUSED = "refused"
    WRONG_ADDRESS = "wrong_address"
    CANCELLED = "cancelled"
    BREAKDOWN = "breakdown"
    BASEMENT = "basement"
    QUITS = "quits"
    PHONE_DIES = "phone_dies"
    BLOCK_ENDS = "block_ends"
    CLOSED_SHOP = "closed_shop"
    EVACUATED = "evacuated"
    STORM = "storm"


_E: Final = BadEvent

ORDER_EVENTS: Final = (
    _E.MISSING,
    _E.SHORT,
    _E.LATE,
    _E.WRONG_CODE,
    _E.CUSTOMER_OUT,
    _E.REFUSED,
    _E.WRONG_ADDRESS,
    _E.CANCELLED,
)
"""The events of an order; an order has at most one. The share is of all orders."""
RUN_EVENTS: Final = (_E.BREAKDOWN, _E.BASEMENT, _E.QUITS, _E.PHONE_DIES, _E.BLOCK_ENDS)
"""The events of a driver's run, at most one in each. The share is of all runs."""

MEANINGS: Final[Mapping[BadEvent, str]] = MappingProxyType(
    {
        _E.MISSING: "the parcels are not at the counter; half of them are found later",
        _E.SHORT: "the counter has one parcel too few",
        _E.LATE: "the parcels are ready later than promised",
        _E.WRONG_CODE: "the driver gives a wrong pickup code at first",
        _E.CUSTOMER_OUT: "nobody is at home; half of the customers answer",
        _E.REFUSED: "the customer refuses the parcels",
        _E.WRONG_ADDRESS: "the address is wrong; half of the customers answer",
        _E.CANCELLED: "the customer cancels, before or after the pickup",
        _E.BREAKDOWN: "the car breaks down with parcels on board",
        _E.BASEMENT: "the phone has no network in the mall",
        _E.QUITS: "the driver gives up its jobs at the mall and goes home",
        _E.PHONE_DIES: "the phone is off while the parcels are delivered",
        _E.BLOCK_ENDS: "the driver's block ends with parcels on board",
        _E.CLOSED_SHOP: "the shop closes itself for an hour",
        _E.EVACUATED: "the whole mall is closed for an hour",
        _E.STORM: "orders that all come within ten minutes",
    }
)

DOOR_PROBLEMS: Final[Mapping[BadEvent, ProblemKind]] = MappingProxyType(
    {
        _E.CUSTOMER_OUT: "customer_unreachable",
        _E.REFUSED: "refused",
        _E.WRONG_ADDRESS: "wrong_address",
    }
)
"""What the driver reports at the door."""

UNDELIVERABLE: Final = frozenset({_E.MISSING, _E.CANCELLED, *DOOR_PROBLEMS})
"""Events after which an order need not be delivered."""

# One order in ten and one run in ten has an event.
DEFAULT_SHARES: Final[Mapping[BadEvent, float]] = MappingProxyType(
    {
        _E.MISSING: 0.015,
        _E.SHORT: 0.015,
        _E.LATE: 0.02,
        _E.WRONG_CODE: 0.01,
        _E.CUSTOMER_OUT: 0.015,
        _E.REFUSED: 0.01,
        _E.WRONG_ADDRESS: 0.01,
        _E.CANCELLED: 0.005,
        _E.BREAKDOWN: 0.01,
        _E.BASEMENT: 0.04,
        _E.QUITS: 0.02,
        _E.PHONE_DIES: 0.02,
        _E.BLOCK_ENDS: 0.01,
        _E.CLOSED_SHOP: 0.1,
        _E.EVACUATED: 0.15,
        _E.STORM: 0.1,
    }
)


@dataclass(frozen=True, slots=True)
class BadDay:
    """What happens on one day. Raises `ValueError` if shares are out of bounds.

    Args:
        seed: Another seed is another day.
        shares: 0 to 1 each; those of orders add up to at most 1, and so do those of runs. An event
            that is left out does not happen.
    """

    seed: int
    shares: Mapping[BadEvent, float] = field(default_factory=lambda: DEFAULT_SHARES)

    def __post_init__(self) -> None:
        for event, share in self.shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{event} is {share:g}, not from 0 to 1")
        for what, events in (("orders", ORDER_EVENTS), ("runs", RUN_EVENTS)):
            total = sum(self.share(event) for event in events)
            if total > 1 + 1e-9:
                raise ValueError(f"the shares of {what} add up to {total:g}, over 1")

    def share(self, event: BadEvent) -> float:
        """Return the share of an event."""
        return self.shares.get(event, 0.0)

    def of_order(self, order: str) -> BadEvent | None:
        """Return the event of an order."""
        return self._one_of(ORDER_EVENTS, self.chance("order", order))

    def of_run(self, driver: str, number: int) -> BadEvent | None:
        """Return the event of a driver's run; runs are numbered from 1."""
        return self._one_of(RUN_EVENTS, self.chance("run", driver, number))

    def closes(self, shop: str) -> bool:
        """Return whether a shop closes for an hour."""
        return self.chance("shop", shop) < self.share(BadEvent.CLOSED_SHOP)

    def is_evacuated(self, mall: str) -> bool:
        """Return whether the mall is evacuated."""
        return self.chance("mall", mall) < self.share(BadEvent.EVACUATED)

    def in_storm(self, order: str) -> bool:
        """Return whether an order is one of the storm."""
        return self.chance("storm", order) < self.share(BadEvent.STORM)

    def comes_right(self, order: str) -> bool:
        """Return whether a missing parcel is found later, or the customer answers."""
        return self.chance("right", order) < 0.5

    def chance(self, *names: object) -> float:
        """Return a number from 0 to 1 that depends on the seed and on these names only."""
        return random.Random(" ".join(map(str, (self.seed, *names)))).random()

    def between(self, low: float, high: float, *names: object) -> float:
        """Return a number between two bounds, as `chance` does."""
        return low + (high - low) * self.chance(*names)

    def _one_of(self, events: tuple[BadEvent, ...], chance: float) -> BadEvent | None:
        for event in events:
            chance -= self.share(event)
            if chance < 0:
                return event
        return None


def parcels_there(event: BadEvent | None, ordered: int) -> int:
    """Return how many of an order's parcels the counter has at first."""
    if event is BadEvent.MISSING:
        return 0
    return ordered - 1 if event is BadEvent.SHORT and ordered > 1 else ordered
