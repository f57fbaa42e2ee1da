"""Whether a job would find a driver, and why it found this one."""

from typing import Annotated

from msgspec import UNSET, Struct, UnsetType

from mallard_protocol.codes import WhyNot
from mallard_protocol.fields import open_enum
from mallard_protocol.instants import Instant
from mallard_protocol.lifecycle import Outcome, Risk
from mallard_protocol.resources.jobs import Eta, Held, PayView


class Candidate(Struct, frozen=True):
    """One driver in a dispatch round. An order service gets numbers instead of names."""

    driver: str
    eligible: bool
    why_not: Annotated[str | None, open_enum(WhyNot)]
    cost_s: float | None
    terms: dict[str, float]
    eta_s: int
    distance_m: int


class Asked(Struct, frozen=True):
    """One driver who got an offer; ``reason``: its reason for a decline or a give-up."""

    driver: str
    attempt: int
    outcome: Annotated[str, open_enum(Outcome)]
    at: Instant
    reason: str | UnsetType = UNSET


class Explanation(Struct, frozen=True):
    """Why this driver: the last round of a job and everyone who was asked.

    ``run_jobs``: with how many jobs, itself among them, it was offered; ``run_why``: why it left
    then: ``due``, ``full``, ``free`` (nothing is held there) or ``add_on`` (one more for a driver
    on its way). ``held_until``: it is held until then at the latest, so that it can share a run.
    ``policy_version``: of the market's policy in that round; 0: that of the configuration.
    """

    job: str
    round: int
    at: Instant | None
    radius_m: int
    capped: bool
    candidates: tuple[Candidate, ...]
    asked: tuple[Asked, ...]
    run_jobs: int = 1
    run_why: str | None = None
    held_until: Instant | None = None
    eta: Eta | UnsetType = UNSET
    held: Held | None = None
    pay: PayView | UnsetType = UNSET
    risk: Annotated[str, open_enum(Risk)] | UnsetType = UNSET
    policy_version: int = 0


class Quote(Struct, frozen=True):
    """Whether a job would find a driver right now.

    ``id``: for logs alone, nothing is stored under it. ``expires_at``: ask again by then. ``eta``:
    when the best driver would collect and deliver it, null if none would. ``paused``: an
    operator has paused matching.
    """

    would_match: bool
    eta_s: int | None
    candidates: tuple[Candidate, ...]
    why_not: Annotated[str | None, open_enum(WhyNot)]
    held: Held | None = None
    id: str | UnsetType = UNSET
    expires_at: Instant | UnsetType = UNSET
    eta: Eta | UnsetType = UNSET
    paused: bool = False
