"""The domain model: drivers, jobs, offers, positions; plain data without I/O.

Times are epoch milliseconds of Redis' clock, positions WGS 84 degrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from mallard_protocol.codes import ID_CHECK, ServiceLevel
from mallard_protocol.lifecycle import (
    HELD,
    TERMINAL,
    DriverState,
    JobState,
    Risk,
    ShopState,
    Wish,
    shown_state,
)

TRANSFER = "transfer"
"""The kind of a job that hands parcels on board over to another driver."""

# A demand is part of a key in Redis.
_LONGEST_ITEMS = 256


@dataclass(frozen=True, slots=True)
class Device:
    """The push address of a driver app, to wake it when it has no socket.

    `token`: at most 4,096 characters, kept out of logs.
    """

    kind: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """The capacity of a driver's vehicle.

    The defaults are those of a record without a vehicle, which only earlier versions wrote. What a
    vehicle that states nothing has room for is in `core.vehicles`.
    """

    kind: str = "car"
    max_jobs: int = 1
    max_weight_g: int = 100_000
    max_volume_l: float = 300
    equipment: tuple[str, ...] = ()

    def fits(self, need: "Need") -> bool:
        """Return whether the empty vehicle could take the job."""
        return (
            need.jobs <= self.max_jobs
            and need.weight_g <= self.max_weight_g
            and need.volume_l <= self.max_volume_l
            and all(item in self.equipment or item == ID_CHECK for item in need.requires)
        )


class Position(NamedTuple):
    """The last accepted fix. `received_ms` is by Redis' clock, `at_ms` by the driver app's.

    A tuple for speed, as every search reads the positions of all drivers that it finds.
    """

    lat: float
    lon: float
    acc_m: float
    at_ms: int
    received_ms: int


@dataclass(frozen=True, slots=True)
class HeldJob:
    """A job that a driver holds, and the attempt under which it was accepted.

    The other fields are set only in markets with runs (`max_run_jobs` over 1): drop-off, deadline
    and size; `there`: the driver has arrived at the mall, so no job is added to the run. They stay
    unset for jobs that were accepted before the market had runs.
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
    # An express job: its driver gets no other until it ends.
    alone: bool = False
    # For how many jobs it counts: a transfer needs the room of all that it carries.
    jobs: int = 1

    @property
    def has_place(self) -> bool:
        """Whether drop-off, deadline and size are known."""
        return self.deadline_ms > 0


# Without slots, so that the record parser takes missing fields from the class. With slots it would
# look up each field of a new object in vain, which is four fifths of the time of parsing a driver.
@dataclass(frozen=True, kw_only=True)
class Driver:
    """A driver's record. `epoch` counts its sockets and fences late closes."""

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
    # The operator's reason.
    suspended_for: str = ""
    # The end of its block has reset its wish.
    block_over: bool = False
    unreachable: bool = False
    seq: int = 0
    # What its sources allow (`core.vehicles`). Its equipment includes the qualifications.
    vehicle: Vehicle = Vehicle()
    qualifications: tuple[str, ...] = ()
    device: Device | None = None
    # When it last said hello.
    hello_ms: int = 0
    # Declined and expired offers as of `declines_ms`; `history`: see `acceptance`.
    declines: float = 0.0
    declines_ms: int = 0
    free_since_ms: int = 0
    # The mall that it is on its way to, from which it may be offered one more job.
    coming: str | None = None
    history: str = ""
    # If the market weighs earnings: the start of its block, jobs delivered since, and their pay.
    block_ms: int = 0
    done: int = 0
    earned_minor: int = 0
    position: Position | None = None

    @property
    def shown(self) -> DriverState:
        """The state as driver apps and operators see it."""
        return shown_state(
            wish=self.wish,
            connected=self.connected,
            offered=self.offer is not None,
            jobs=len(self.jobs),
        )


@dataclass(frozen=True, slots=True)
class Need:
    """What a round must know about a queued job."""

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
    # The driver's pay in minor units; 0: unknown. It may rise to `pay_max_minor`; 0: it does not.
    pay_minor: int = 0
    pay_max_minor: int = 0
    # When each of several stores is ready, in their order; empty: all at `ready_ms`.
    store_ready_ms: tuple[int, ...] = ()
    # The order service; empty for jobs stored under schema 1.
    service: str = ""
    # None for jobs stored before there were levels: the market's preset applies.
    service_level: ServiceLevel | None = None
    # The number of jobs that a transfer carries.
    jobs: int = 1
    # The stores at which nothing is left to collect; lib/shops.lua keeps them.
    done: tuple[str, ...] = ()

    @property
    def visits(self) -> tuple[str, ...]:
        """The stores that a driver must visit; all of them if nothing is left to collect."""
        if not self.done:
            return self.stores
        return tuple(store for store in self.stores if store not in self.done) or self.stores

    @property
    def visits_ready_ms(self) -> tuple[int, ...]:
        """When each store of `visits` is ready."""
        each_ms = self.store_ready_ms or (self.ready_ms,) * len(self.stores)
        if not self.done:
            return each_ms
        visits = self.visits
        pairs = zip(self.stores, each_ms, strict=True)
        return tuple(at_ms for store, at_ms in pairs if store in visits)

    @property
    def demand(self) -> str:
        """What it requires of a vehicle (weight, volume, equipment) as text; empty if too long."""
        items = ",".join(sorted(item for item in self.requires if item != ID_CHECK))
        return f"{self.weight_g} {self.volume_l!r} {items}" if len(items) <= _LONGEST_ITEMS else ""

    def held_until_ms(self, mall: str, holds: Mapping[str, int]) -> int:
        """Return until when a store to visit is held (`holds`: by mall/store); 0: none is."""
        return max((holds.get(f"{mall}/{store}", 0) for store in self.visits), default=0)


class StoreHold(NamedTuple):
    """A store that cannot serve drivers: until when (epoch ms), and why.

    `why` is `not_ready` or `store_closed`, as a driver or the shop reported; `own_word_ms`: until
    when the shop itself said that it is closed, 0 if it did not.
    """

    until_ms: int
    why: str
    own_word_ms: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """The outcome of one driver's offer of a job."""

    driver: str
    attempt: int
    outcome: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One change of a job's state.

    `at_ms`: when it was recorded; `occurred_ms`: when it happened by the driver app's clock,
    limited to the time between the previous entry and `at_ms`.
    """

    state: str
    at_ms: int
    actor: str
    cause: str
    occurred_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenProof:
    """A proof that a driver gave with a step. `reported_ms`: when, by the driver app's clock."""

    kind: str
    value: str
    step: str
    at_ms: int
    driver: str
    reported_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """The last answer to a problem, and who gave it."""

    action: str
    text: str
    at_ms: int
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedProblem:
    """A problem that a driver reported with a job. `until_ms`: the store is held until then."""

    id: str
    kind: str
    store: str
    text: str
    at_ms: int
    driver: str
    state: str
    until_ms: int | None = None
    reported_ms: int | None = None
    answer: GivenAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnPlace:
    """Where a job's parcels go back to.

    `kind`: `store` or `station`; `open_until`: epoch ms, None if it never closes.
    """

    kind: Literal["store", "station"]
    mall: str
    store: str
    lat: float
    lon: float
    open_until: int | None = None


@dataclass(frozen=True, slots=True)
class ReturnPlan:
    """Where a job goes back to, and the code that the place shows."""

    place: ReturnPlace
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAnswer:
    """What the holder was told about a problem last."""

    problem: str
    action: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Who cancelled a job, why, and in which state it was."""

    by: str
    reason: str
    note: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What is known of a job's parcels at one shop.

    `there`: how many the shop has said to have, if fewer than ordered. `holds`: how often a
    driver's report has held the job for this shop. `wait_ms`: until when it is not ready, as the
    holder at `wait_attempt` reported.
    """

    store: str
    state: ShopState = ShopState.WAITING
    collected: int = 0
    holds: int = 0
    there: int | None = None
    wait_ms: int | None = None
    wait_attempt: int | None = None


@dataclass(frozen=True, slots=True)
class JobHold:
    """Why a `scheduled` job waits for a shop, and until when (epoch ms)."""

    why: str
    store: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class GivenReason:
    """The driver's text on why it declined a job or gave it up."""

    driver: str
    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored.

    `body`: the request as JSON with defaults filled in; `card`: what a driver may see of the job
    before accepting. Both are opaque to the core.
    """

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
    # When its holder was first expected to have it; the `eta_*` fields follow its trip.
    promised_ms: int | None = None
    proofs: tuple[GivenProof, ...] = ()
    problems: tuple[ReportedProblem, ...] = ()
    reasons: tuple[GivenReason, ...] = ()
    # The driver's pay, once it has risen: a holder keeps what it was offered.
    raised_pay_minor: int | None = None
    risk: Risk = Risk.NONE
    # Of the shops that something is known of.
    shops: tuple[Shop, ...] = ()
    hold: JobHold | None = None
    handover_key: str = field(default="", repr=False)
    # Of a job on board: its last transfer, as mall/job.
    transfer: str = ""
    # Of a transfer: the driver who hands over, the jobs, and the code that proves the meeting.
    kind: str = ""
    first: str = ""
    carries: tuple[str, ...] = ()
    code: str = ""

    @property
    def transfer_job(self) -> str:
        """The id of its last transfer, which may be over; empty if it had none."""
        return self.transfer.rpartition("/")[2]

    delivery_attempts: int = 0
    # The driver was told to leave it at the door, with a photo.
    is_left: bool = False
    # When something happens at the door, unless it is answered: an entry of the due set.
    door_ms: int | None = None
    answer: ToldAnswer | None = None
    # `return_to`: where it goes back to, or went. `return_code`: what that place shows.
    return_to: ReturnPlace | None = None
    return_code: str = ""
    cancel_requested: bool = False
    cancelled: Cancelled | None = None
    redelivery_of: str | None = None
    redelivered_as: str | None = None

    @property
    def returning_since_ms(self) -> int:
        """When its way back began, by the driver's clock; 0 unless it is on its way back."""
        if self.state is not JobState.RETURNING:
            return 0
        entries = reversed(self.timeline)
        return next((it.occurred_ms for it in entries if it.state == JobState.RETURNING), 0)

    @property
    def arrived_ms(self) -> int | None:
        """When its driver arrived at the mall; None unless the job is `at_mall`."""
        if self.state is not JobState.AT_MALL:
            return None
        entries = reversed(self.timeline)
        return next((it.at_ms for it in entries if it.state == JobState.AT_MALL), None)

    @property
    def collected_ms(self) -> int | None:
        """When the first parcel was on board; None before that."""
        entries = iter(self.timeline)
        return next((it.at_ms for it in entries if it.state == JobState.PICKED_UP), None)

    @property
    def terminal(self) -> bool:
        """Whether the job is in a terminal state."""
        return self.state in TERMINAL

    @property
    def held(self) -> bool:
        """Whether a driver holds it."""
        return self.state in HELD


@dataclass(frozen=True, slots=True)
class Submission:
    """A validated order to be stored.

    `key`, `body_hash`: for idempotency; `pin`: the code that the customer gives at the door;
    `images_required`: which of photo and signature the delivery needs; `pickup_codes`: the codes of
    its stores; `handover_key`: random, see `handover`.
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
    images_required: tuple[str, ...] = ()
    pin: str = ""
    pickup_codes: tuple[str, ...] = ()
    handover_key: str = field(default="", repr=False)
    # The least time until a driver has the parcels in hand, and from there to the door.
    lead_ms: int = 0
    haul_ms: int = 0
    # The returned job whose parcels it delivers, and the earlier redelivery that it replaces.
    redelivery_of: str | None = None
    replaces: str = ""

    def __post_init__(self) -> None:
        # Rounds read only the need of a queued job.
        object.__setattr__(self, "need", replace(self.need, service=self.service))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued job as `candidates` reads it."""

    job: str
    attempt: int
    need: Need
    asked: tuple[Asked, ...]
    card: bytes
    held_until_ms: int = 0

    @property
    def service(self) -> str:
        """The order service, for the round robin between services."""
        return self.need.service


class Near(NamedTuple):
    """A driver near a mall. `distance_m`: straight line to the mall's centre."""

    driver: Driver
    position: Position
    distance_m: float


@dataclass(frozen=True, slots=True)
class OfferedJob:
    """One job of an offer: its card, and when it would be collected and dropped off (epoch ms).

    `pay_minor`: the driver's pay if it has risen since the card was made; `done`: the stores of the
    card at which nothing is left to collect.
    """

    job: str
    attempt: int
    card: bytes
    eta_pickup_ms: int
    eta_dropoff_ms: int
    pay_minor: int | None = None
    done: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveOffer:
    """A live offer; times in epoch ms, `ack_by_ms` 0 once acknowledged.

    `jobs`: one, or a run in the order of the drop-offs; `attempt`: the highest of theirs; `add_on`:
    the driver holds jobs already and is asked for one more on the way.
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
    """One addend of a cost in seconds. A tuple for speed, as a round builds hundreds."""

    name: str
    seconds: float


class RankedDriver(NamedTuple):
    """One candidate of a round: eligible with a cost, or not with the reason. A tuple for speed.

    `cell`: the cell of its history in which its answer counts; None if no history is recorded.
    `ask_by_ms`: asked later, it could not collect before the mall closes or the job expires; 0: no
    such limit.
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
    """The record of a job's last round, stored for `explain`.

    In markets with runs, `run`: the jobs of the run in the order of their drop-offs; `why`: why it
    left then (see `mallard_engine.core.runs.run.Run`); `held_until_ms`: the job is held until then
    so that it can share a run.
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
