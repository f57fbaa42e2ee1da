"""The engine's own words: drivers, jobs, offers, positions. Plain data, no behaviour with I/O.

Times are epoch milliseconds of the store's clock, positions WGS 84 degrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mallard_protocol.codes import ID_CHECK
from mallard_protocol.lifecycle import HELD, TERMINAL, DriverState, JobState, Wish, shown_state

# A demand is part of a name in the store.
_LONGEST_ITEMS = 256


@dataclass(frozen=True, slots=True)
class Device:
    """Where the operator's push service can wake an app that has no socket.

    ``token``: at most 4,096 characters, kept out of logs.
    """

    kind: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """What a driver's vehicle can carry."""

    kind: str = "car"
    max_jobs: int = 1
    max_weight_g: int = 100_000
    max_volume_l: float = 300
    equipment: tuple[str, ...] = ()

    def fits(self, need: "Need") -> bool:
        """Whether it could take such a job when it is empty."""
        return (
            need.weight_g <= self.max_weight_g
            and need.volume_l <= self.max_volume_l
            and all(item in self.equipment or item == ID_CHECK for item in need.requires)
        )


class Position(NamedTuple):
    """The last believed fix. ``received_ms`` is ours, ``at_ms`` the phone's word for it.

    A tuple, as each look reads that of every driver whom it finds.
    """

    lat: float
    lon: float
    acc_m: float
    at_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job in a driver's hands, with the attempt under which it got there.

    Only in markets with runs (``max_run_jobs`` over 1): where it goes, by when and how much it is;
    ``there``: its driver has arrived with it at the mall, so nothing is added to its run. Of what a
    driver took before its market had runs none of this is known, until it is done.
    """

    job: str
    attempt: int
    mall: str
    there: bool = False
    lat: float = 0.0
    lon: float = 0.0
    deadline_ms: int = 0
    weight_g: int = 0
    volume_l: float = 0.0

    @property
    def has_place(self) -> bool:
        """Whether it is known where it goes, by when and how much it is."""
        return self.deadline_ms > 0


# Without slots: then the reader of records takes what is not told from the class. With them it asks
# each field of a new object in vain first, which is four fifths of reading a driver.
@dataclass(frozen=True, kw_only=True)
class Driver:
    """What the store knows of a driver. ``epoch`` counts its sockets and fences late closes."""

    id: str
    wish: Wish
    until_ms: int | None = None
    offer: str | None = None
    jobs: tuple[HeldJob, ...] = ()
    epoch: int = 0
    node: str = ""
    connected: bool = False
    lost_ms: int = 0
    cool_until_ms: int = 0
    suspended: bool = False
    # The reason that the operator gave.
    suspended_for: str = ""
    # The end of its block has taken its wish back.
    block_over: bool = False
    unreachable: bool = False
    seq: int = 0
    vehicle: Vehicle = Vehicle()
    device: Device | None = None
    # Refusals: declines and lapses, as of `declines_ms`. How all offers ended: see `acceptance`.
    declines: float = 0.0
    declines_ms: int = 0
    free_since_ms: int = 0
    # The mall that it is on its way to and may be offered one more job from.
    coming: str | None = None
    history: str = ""
    # Of its block, where the market weighs it: its start, jobs delivered, what they paid.
    block_ms: int = 0
    done: int = 0
    earned_minor: int = 0
    position: Position | None = None

    @property
    def shown(self) -> DriverState:
        """The state that apps and operators see."""
        return shown_state(
            wish=self.wish,
            connected=self.connected,
            offered=self.offer is not None,
            jobs=len(self.jobs),
        )


@dataclass(frozen=True, slots=True)
class Need:
    """What a round must know of a job that waits for a driver."""

    stores: tuple[str, ...]
    ready_ms: int
    deadline_ms: int
    expires_ms: int
    lat: float
    lon: float
    parcels: int
    weight_g: int
    volume_l: float
    requires: tuple[str, ...]
    priority: int
    created_ms: int
    # What its driver is paid, in minor units; 0: not known.
    pay_minor: int = 0
    # When each of several stores is ready, in their order; none told: all at ``ready_ms``.
    store_ready_ms: tuple[int, ...] = ()
    # The order service; empty for jobs that an engine of schema 1 has stored.
    service: str = ""

    @property
    def demand(self) -> str:
        """What it demands of a vehicle: weight, volume, equipment. Empty if that is too long."""
        items = ",".join(sorted(item for item in self.requires if item != ID_CHECK))
        return f"{self.weight_g} {self.volume_l!r} {items}" if len(items) <= _LONGEST_ITEMS else ""

    def held_until_ms(self, mall: str, holds: Mapping[str, int]) -> int:
        """Until when one of its stores is held (``holds``: by mall/store); 0: none is."""
        return max((holds.get(f"{mall}/{store}", 0) for store in self.stores), default=0)


class StoreHold(NamedTuple):
    """A store that a driver found unable to hand over: until when (epoch ms), and why
    (``not_ready``, ``store_closed``)."""

    until_ms: int
    why: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One driver's turn with a job."""

    driver: str
    attempt: int
    outcome: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One change of a job's state. ``at_ms``: when it was recorded; ``occurred_ms``: when it
    happened by the phone's word, not before the entry before it nor after it was recorded."""

    state: str
    at_ms: int
    actor: str
    cause: str
    occurred_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenProof:
    """A proof that a driver gave with a step. ``reported_ms``: when, by its phone."""

    kind: str
    value: str
    step: str
    at_ms: int
    driver: str
    reported_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedProblem:
    """A problem that a driver reported with a job; ``until_ms``: its store is held until then."""

    id: str
    kind: str
    store: str
    text: str
    at_ms: int
    driver: str
    state: str
    until_ms: int | None = None
    reported_ms: int | None = None


@dataclass(frozen=True, slots=True)
class GivenReason:
    """Why a driver declined a job or gave it up, in its own words."""

    driver: str
    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored. ``body`` is the request as JSON with its defaults filled in (opaque here);
    ``card`` is what a driver may see of it before accepting (opaque here too)."""

    id: str
    market: str
    service: str
    mall: str
    state: JobState
    attempt: int
    driver: str | None
    offer: str | None
    reason: str | None
    created_ms: int
    updated_ms: int
    expires_ms: int
    deadline_ms: int
    release_ms: int
    priority: int
    external_id: str | None
    body: bytes
    card: bytes
    need: Need
    eta_pickup_ms: int | None
    eta_dropoff_ms: int | None
    timeline: tuple[TimelineEntry, ...]
    asked: tuple[Asked, ...]
    # When its holder was first expected to have it; the times above follow its way.
    promised_ms: int | None = None
    proofs: tuple[GivenProof, ...] = ()
    problems: tuple[ReportedProblem, ...] = ()
    reasons: tuple[GivenReason, ...] = ()

    @property
    def arrived_ms(self) -> int | None:
        """When its driver came to the mall; None unless it is there."""
        if self.state is not JobState.AT_MALL:
            return None
        entries = reversed(self.timeline)
        return next((it.at_ms for it in entries if it.state == JobState.AT_MALL), None)

    @property
    def terminal(self) -> bool:
        """Whether the job has ended for good."""
        return self.state in TERMINAL

    @property
    def held(self) -> bool:
        """Whether a driver holds it."""
        return self.state in HELD


@dataclass(frozen=True, slots=True)
class Submission:
    """A validated order on its way into the store. ``key`` and ``body_hash``: its idempotency.

    ``pin``: the code that the customer tells at the door; ``pickup_codes``: those of its shops.
    """

    job: str
    market: str
    service: str
    mall: str
    key: str
    body_hash: str
    external_id: str | None
    state: JobState
    release_ms: int
    body: bytes
    card: bytes
    need: Need
    needs_age_check: bool = False
    pin: str = ""
    pickup_codes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A round knows of a queued job only what its need says.
        object.__setattr__(self, "need", replace(self.need, service=self.service))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job, as ``candidates`` reads it."""

    job: str
    attempt: int
    need: Need
    asked: tuple[Asked, ...]
    card: bytes
    held_until_ms: int = 0

    @property
    def service(self) -> str:
        """The order service, which takes its turn with others."""
        return self.need.service


class Near(NamedTuple):
    """A driver near a mall. ``distance_m``: straight line to the mall's centre."""

    driver: Driver
    position: Position
    distance_m: float


@dataclass(frozen=True, slots=True)
class OfferedJob:
    """One job inside an offer, with what the driver may see of it and when it would be collected
    and handed over."""

    job: str
    attempt: int
    card: bytes
    eta_pickup_ms: int
    eta_dropoff_ms: int


@dataclass(frozen=True, slots=True)
class LiveOffer:
    """An offer that is out. All times epoch ms; ``ack_by_ms`` 0 once acknowledged.

    ``jobs``: one, or a run of several in the order of their drop-offs. ``attempt``: the highest of
    theirs. ``add_on``: its driver holds jobs already and is asked for one more on its way.
    """

    offer: str
    driver: str
    mall: str
    gate: str
    attempt: int
    jobs: tuple[OfferedJob, ...]
    eta_s: int
    distance_m: int
    eta_pickup_ms: int
    eta_dropoff_ms: int
    expires_ms: int
    ack_by_ms: int
    add_on: bool = False


class Term(NamedTuple):
    """One addend of a cost, in seconds. A tuple, as a round makes hundreds: half the time."""

    name: str
    seconds: float


class RankedDriver(NamedTuple):
    """One candidate of a round: eligible with a cost, or not with the reason. A tuple as above.

    ``cell``: where its answer counts in its history; None where none is kept. ``ask_by_ms``: asked
    later, it could not have the parcels in hand before the mall closes or the job expires; 0: there
    is no such limit.
    """

    driver: str
    eligible: bool
    why_not: str | None
    cost_s: float | None
    terms: tuple[Term, ...]
    eta_s: int
    distance_m: int
    gate: str
    eta_pickup_ms: int = 0
    eta_dropoff_ms: int = 0
    cell: int | None = None
    ask_by_ms: int = 0


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """Why this driver: what the last round of a job looked at. Kept for ``explain``.

    In markets with runs, ``run``: the jobs that go together, in the order of their drop-offs, and
    ``why`` they left then (see `mallard_engine.core.runs.run.Run`); ``held_until_ms``: the job is
    held for company.
    """

    job: str
    round: int
    at_ms: int
    radius_m: int
    capped: bool
    candidates: tuple[RankedDriver, ...] = field(default=())
    run: tuple[str, ...] = ()
    why: str = ""
    held_until_ms: int = 0
