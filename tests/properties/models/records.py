"""The model's offers and jobs, and the steps that each state allows."""

from dataclasses import dataclass, field
from typing import Any

# A refusal without an exact code in the contract: the caller has lost the job for good.
REFUSED = "refused"
REFUSAL_CODES = frozenset({"not_yours", "stale_attempt", "wrong_state"})


# The states from which a step leads on (FROM), and those in which it is done already (DONE).
FROM = {
    "at_mall": {"assigned"},
    "picked_up": {"assigned", "at_mall"},
    "delivered": {"picked_up", "returning"},
}
DONE = {
    "at_mall": {"at_mall", "picked_up", "returning", "delivered", "returned"},
    "picked_up": {"picked_up", "returning", "delivered", "returned"},
    "delivered": {"delivered"},
}

Eta = tuple[int, int]


@dataclass
class Offer:
    """An offer. ``jobs``: each job's attempt. ``add_on``: the driver already held jobs."""

    jobs: dict[str, int]
    driver: str
    expires: int
    ack_by: int
    add_on: bool = False
    etas: dict[str, Eta] = field(default_factory=dict)
    cell: int | None = None
    state: str = "live"
    ended: int = 0

    @property
    def attempt(self) -> int:
        return max(self.jobs.values())


@dataclass
class Shop:
    """``there``: how many parcels the shop has; ``wait``: when they are ready, and the attempt."""

    state: str = "waiting"
    got: int = 0
    there: int | None = None
    holds: int = 0
    wait: tuple[int, int] | None = None

    @property
    def is_open(self) -> bool:
        has_some = self.state == "short" and self.got == 0 and bool(self.there)
        return self.state in {"waiting", "ready"} or has_some

    @property
    def lacks(self) -> bool:
        return self.got == 0 and self.state in {"missing", "short"}


@dataclass(eq=False)
class Job:
    mall: str
    expires: int
    release: int
    external: str | None
    age_check: bool
    state: str
    weight: int = 100
    eta: Eta | None = None
    attempt: int = 0
    holder: str = ""
    offer: str = ""
    asked: list[tuple[str, int, str, int]] = field(default_factory=list)
    # Former holders as (driver, attempt); they may claim custody.
    former: set[tuple[str, int]] = field(default_factory=set)
    # The attempt after custody, by the claimed (driver, attempt).
    won: dict[tuple[str, int], int] = field(default_factory=dict)
    ready: int = 0
    due: int = 0  # its deadline
    dead: bool = False  # a dead letter, while it is scheduled
    pay: int = 0
    pay_most: int = 0
    came: int = 0
    created: int = 0
    express: bool = False
    # Of a job on board: its last transfer. Of a transfer: its first driver, what it carries, how
    # many jobs it counts for, and the wrong codes so far.
    transfer: str = ""
    first: str = ""
    carries: tuple[str, ...] = ()
    parts: int = 1
    wrong: list[str] = field(default_factory=list)
    # At the door: see `DoorModel`. ``door``: the problem, what happens next, and when. ``taken``:
    # the attempt and the time of the last timed step.
    rule: str = "return"
    troubles: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    visited: bool = False
    door: tuple[str, str, int] | None = None
    taken: tuple[int, int] | None = None
    left: bool = False
    aged: bool = False
    # What the delivery needs besides, what of it was given, and the wrong codes of the customer.
    images: frozenset[str] = frozenset()
    pin: str = ""
    given: set[str] = field(default_factory=set)
    wrong_pins: set[str] = field(default_factory=set)
    cancel_requested: bool = False
    # The way back: seen at its place, its code shown there, a photo.
    seen_there: bool = False
    shown: bool = False
    photo: bool = False
    # Of a redelivery: the returned job. Of a returned job: its last redelivery.
    origin: str = ""
    again: str = ""
    # All drivers to whom it was ever offered or assigned.
    known: set[str] = field(default_factory=set)
    # By store, in the order of the order; and the order's rules for missing parcels.
    shops: dict[str, Shop] = field(default_factory=dict)
    on_short: str = "deliver"
    on_missing: str = "hold"
    hold_ms: int = 4 * 3_600_000
    # Why it waits for a shop, for which, and until when.
    held: tuple[str, str, int] = ("", "", 0)

    @property
    def lacks_proof(self) -> bool:
        """Whether a photo, a signature or the customer's code is missing."""
        needed = self.images | ({"photo"} if self.left else set())
        return bool(needed - self.given) or bool(self.pin and "pin" not in self.given)

    @property
    def is_held(self) -> bool:
        return self.state == "scheduled" and bool(self.held[0])
