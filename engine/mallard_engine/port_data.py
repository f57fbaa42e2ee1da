"""The data that the ports take and return, and the refusals of the storage as exceptions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from mallard_engine.core.model import (
    Device,
    Driver,
    Job,
    LiveOffer,
    Near,
    Need,
    RankedDriver,
    RoundRecord,
    ToldAnswer,
    Vehicle,
    Waiting,
)
from mallard_engine.core.vehicles import DriverClaims, StatedVehicle
from mallard_protocol.codes import ErrorCode
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS
from mallard_protocol.lifecycle import JobState, Wish

# The most drivers on their way to a mall that are considered for one more job.
MOST_COMING = 64


class StoreUnavailable(Exception):
    """The storage did not answer in time. The outcome of the call is unknown."""


class StoreFull(Exception):
    """The server is out of memory. Only ``hello`` and ``submit`` are refused for this."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one service may have in one market; 0: no limit.

    ``open_jobs``: jobs that have not ended. ``stored_bytes``: bytes of the jobs submitted within
    the time for which ended jobs are kept.
    """

    open_jobs: int = 0
    stored_bytes: int = 0


NO_QUOTAS = Quotas()


class QuotaExceeded(Exception):
    """The service has used up a quota, ``open_jobs`` or ``stored_bytes``."""


class Refused(Exception):
    """The storage refused a transition. ``code`` is the reason as an error code of the contract.

    ``missing``: the kinds of proof that are missing. ``tries_left``: how many wrong codes are left.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str = "",
        *,
        missing: tuple[str, ...] = (),
        tries_left: int | None = None,
    ) -> None:
        super().__init__(message or code.value)
        self.code = code
        self.missing = missing
        self.tries_left = tries_left


class TooManyWrongCodes(Exception):
    """No code is tried for ``wait_s`` seconds: too many were wrong."""

    def __init__(self, wait_s: float) -> None:
        super().__init__("too many wrong codes")
        self.wait_s = wait_s


class NoSuchJob(Exception):
    """There is no such job."""


class NoSuchDriver(Exception):
    """There is no such driver."""


class IdempotencyMismatch(Exception):
    """The idempotency key was used with another body."""


class DuplicateExternalId(Exception):
    """The service has a job with this external id; ``job`` is its id."""

    def __init__(self, job: str) -> None:
        super().__init__(job)
        self.job = job


class WrongState(Exception):
    """The job's state does not allow this; ``state`` is the present one."""

    def __init__(self, state: JobState) -> None:
        super().__init__(state.value)
        self.state = state


class NoSuchProblem(Exception):
    """The job has no such problem."""


class OfferLive(Exception):
    """The driver has a live offer that must be answered first; ``offer`` is its id."""

    def __init__(self, offer: str) -> None:
        super().__init__(offer)
        self.offer = offer


class TransferOpen(Exception):
    """The job is part of an open transfer already; ``transfer`` is its id."""

    def __init__(self, transfer: str) -> None:
        super().__init__(transfer)
        self.transfer = transfer


class DriverUnavailable(Exception):
    """The driver whom an operator named cannot take the job now; the message says why."""


# Whether a point (latitude, longitude) is around a mall.
Around = Callable[[float, float], bool]


def nowhere(_lat: float, _lon: float) -> bool:
    """Return False: the mall is not known."""
    return False


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job and the mall in whose queue it waits."""

    job: str
    mall: str


class PushKind(StrEnum):
    """What a push says, with the fields of a `Push` that it fills."""

    OFFER = "offer"
    """``offer``."""
    OFFER_CLOSED = "offer_closed"
    """``offer_id``, ``why``."""
    JOB = "job"
    """``job``, ``mall``, ``attempt``, ``state``, ``reason``, ``driver_state``, ``answer``."""
    STATE = "state"
    """``state``, ``why``, ``until_ms``."""
    REPLACED = "replaced"
    """``epoch``; ``seq`` is 0."""
    UNKNOWN = ""
    """Written by a newer engine; this one has no frame for it."""


@dataclass(frozen=True, slots=True)
class Push:
    """A message for a driver's socket. ``seq`` is the driver's own counter."""

    driver: str
    seq: int
    kind: PushKind
    offer: LiveOffer | None = None
    offer_id: str = ""
    why: str = ""
    job: str = ""
    attempt: int = 0
    state: str = ""
    reason: str = ""
    mall: str = ""
    epoch: int = 0
    driver_state: str = ""
    until_ms: int | None = None
    answer: ToldAnswer | None = None


@dataclass(frozen=True, slots=True)
class PushEntry:
    """A push read from a market's stream; ``cursor`` is the position behind it."""

    market: str
    cursor: str
    push: Push


@dataclass(frozen=True, slots=True)
class Freed:
    """A driver who has just become free, and its position."""

    driver: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class LateJob:
    """A job whose holder may come late.

    ``lost_ms``: since when the holder is silent; 0: it is connected and may be stuck.
    """

    mall: str
    job: str
    driver: str
    attempt: int
    lost_ms: int


@dataclass(frozen=True, slots=True)
class Effects:
    """What a caller should apply after a transition.

    Attributes:
        now_ms: When the transition ran.
        pushes: To be delivered to sockets.
        malls: Malls at which the search for drivers starts again.
        queued: Jobs that have just entered a queue, as (mall, job).
        freed: Drivers who became free.
        due: Due entries that were added or moved, with their times (epoch ms).
        over: Due entries that were removed.
        late: Jobs whose holders may come late.
        event: The last event that the transition appended to the market's stream.
        alerts: The kinds of alerts for operators.
        hand_overs: Drivers whose parcels are to be handed over to another one, and why.
        shops: What a shop's lack of parcels did to jobs (`held` or `failed`), and the reason.
    """

    now_ms: int = 0
    pushes: tuple[Push, ...] = ()
    malls: tuple[str, ...] = ()
    queued: tuple[tuple[str, str], ...] = ()
    freed: tuple[Freed, ...] = ()
    due: tuple[tuple[str, int], ...] = ()
    over: tuple[str, ...] = ()
    late: tuple[LateJob, ...] = ()
    event: str = ""
    alerts: tuple[str, ...] = ()
    hand_overs: tuple[tuple[str, str], ...] = ()
    shops: tuple[tuple[str, str], ...] = ()

    @property
    def changed_jobs(self) -> bool:
        """Whether a job has changed: then a due entry was added or removed, or a mall searches."""
        return bool(self.due or self.over or self.malls)


@dataclass(frozen=True, slots=True)
class Hello:
    """A driver's socket is registered. ``epoch`` fences the end of this socket."""

    epoch: int
    seq: int
    effects: Effects


@dataclass(frozen=True, slots=True)
class DriverSnapshot:
    """A driver, its live offer and its jobs, at ``now_ms``.

    ``transfers``: the open transfers that carry some of the jobs, by id. ``aliases``: the names of
    the drivers who come for these, by id, where the register or the token gives one.
    """

    now_ms: int
    driver: Driver
    offer: LiveOffer | None
    jobs: tuple[Job, ...]
    transfers: Mapping[str, Job] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def transfer_of(self, job: Job) -> Job | None:
        """Return the open transfer that carries a job."""
        return self.transfers.get(job.transfer_job)


@dataclass(frozen=True, slots=True)
class Answered:
    """A driver's request was executed, now or by an earlier, equal one."""

    driver: Driver
    effects: Effects
    jobs: tuple[Job, ...] = ()
    job_state: str = ""
    attempt: int = 0
    # False if it repeated an earlier request.
    is_new: bool = True

    def took_custody(self, job: str, attempt: int) -> bool:
        """Whether a claim under `attempt` has given the driver the job at a later one."""
        return any(held.job == job and held.attempt > attempt for held in self.driver.jobs)


class DriverFix(NamedTuple):
    """One position on its way into the storage.

    ``at_ms`` is the device's time. ``fault`` is the verdict where it is known before the storage is
    asked: ``malformed``, or ``outside`` of the market. A tuple, as there are thousands a second.
    """

    driver: str
    at_ms: int
    lat: float
    lon: float
    acc_m: float = 0.0
    heading_deg: float | None = None
    speed_mps: float | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The verdict on each fix of a batch, in order.

    ``ok``, ``old``, ``future``, ``impossible``, ``outside``, ``malformed``, or ``unknown`` (there
    is no such driver).
    """

    verdicts: tuple[str, ...]
    effects: Effects


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job of a submission. ``replayed``: an earlier, equal submission created it."""

    job: Job
    replayed: bool
    effects: Effects


@dataclass(frozen=True, slots=True)
class Found:
    """What a round of a mall reads.

    Attributes:
        now_ms: When it was read.
        waiting: Queued jobs, those of each service by priority and age.
        waiting_total: How many jobs wait at the mall.
        near: Free drivers who hold no job, by distance.
        radius_m: The radius of the search.
        more: There are more drivers in that radius than were asked for.
        holds: Until when stores of the market are held, by mall/store.
        coming: At most `MOST_COMING` drivers on their way to the mall who could take one more job
            from it, unordered; ``jobs`` are those that they hold. Empty in a market that does not
            pool.
        after: The last service that was read, if more wait than one call reads.
    """

    now_ms: int
    waiting: tuple[Waiting, ...]
    waiting_total: int
    near: tuple[Near, ...]
    radius_m: float
    more: bool
    holds: Mapping[str, int]
    coming: tuple[Near, ...] = ()
    after: str = ""


@dataclass(frozen=True, slots=True)
class Fitting:
    """Queued jobs that one of the vehicles could take.

    ``low``: where to continue; None: the whole queue has been read.
    """

    jobs: tuple[Waiting, ...]
    low: str | None


@dataclass(frozen=True, slots=True)
class MarketQueue:
    """The queue of a market as (mall, job), by priority and age; ``total``: how many wait."""

    now_ms: int
    jobs: tuple[tuple[str, Waiting], ...]
    total: int


@dataclass(frozen=True, slots=True)
class FreeDrivers:
    """Free drivers around several points; their ``distance_m`` is 0.

    ``coming``: as in `Found`, for the malls that were named.
    """

    now_ms: int
    near: tuple[Near, ...]
    coming: tuple[Near, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job of a plan, at the attempt under which it waits.

    ``record`` is its round, for ``explain``. ``etas``: for each driver of the plan, in order, when
    this job would be picked up and dropped off (epoch ms). Empty: the driver's own times, which are
    right for a run of one job.
    """

    job: str
    attempt: int
    record: RoundRecord
    etas: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class MoreOffers:
    """A staggered round: up to ``most`` drivers of a plan are offered its job.

    Each offer follows ``gap_ms`` after the one before (0: all at once). ``offers`` are their ids.
    """

    most: int
    gap_ms: int
    offers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfferPlan:
    """One or more jobs of a mall, and the drivers to offer them to, best first.

    The storage offers all jobs to the first driver who may still be offered them, or none: only if
    every job still waits at its attempt. A driver who holds nothing takes as many jobs as its
    vehicle has room for (the vehicle's ``max_jobs``, the market's ``max_run_jobs``, weight, volume,
    equipment). A driver on its way to this mall takes one more job; a plan of several jobs skips
    it. The ranking, not the storage, checks that the first job fits an empty vehicle.

    Attributes:
        offer: The offer's id.
        mall: The mall.
        jobs: In the order of their drop-offs.
        drivers: The drivers, best first.
        more: Offer the one job of the plan to several drivers in one round.
    """

    offer: str
    mall: str
    jobs: tuple[PlannedJob, ...]
    drivers: tuple[RankedDriver, ...]
    more: MoreOffers | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """The expected pickup and drop-off (epoch ms) of a job that is held under ``attempt``."""

    job: str
    attempt: int
    eta_pickup_ms: int
    eta_dropoff_ms: int


@dataclass(frozen=True, slots=True)
class Offered:
    """The result of a plan.

    ``verdict``: ``offered``; ``nobody`` (no driver of the plan may be offered it any more);
    ``gone`` (the jobs in ``dequeued`` no longer wait at that attempt, so none was offered).
    """

    verdict: str
    driver: str | None
    effects: Effects
    dequeued: tuple[str, ...] = ()


class DueKind(StrEnum):
    """What a due entry asks of a sweeper; the first part of its name in the due set."""

    RELEASE = "release"
    """A scheduled job begins to look for a driver."""
    RETRY = "retry"
    """A queued job gets another round."""
    OFFER = "offer"
    """An offer was not acknowledged or answered in time."""
    MORE = "more"
    """A staggered round offers its job to the next driver."""
    DOOR = "door"
    """Nobody takes a job's parcels, and nobody has answered: its rule acts."""
    RETURN = "return"
    """The place that a job goes back to closes, or is to be looked at again."""
    SILENT = "silent"
    """The driver who holds a job may have gone silent."""
    DRIVER = "driver"
    """A limit of a driver's own has passed."""
    TRANSFER = "transfer"
    """A transfer, or a job that it carries, has changed."""
    UNKNOWN = ""
    """Malformed, or written by a newer engine."""


@dataclass(frozen=True, slots=True)
class DueEntry:
    """An overdue entry. ``member``: its name in the due set; ``id``: the job's or the driver's."""

    member: str
    kind: DueKind
    id: str
    mall: str = ""
    offer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPlan:
    """A transfer to begin: the parcels that a driver hands over to another one.

    Attributes:
        job: The id of the job that it makes.
        mall: The meeting place (`mallard_engine.core.places.meeting`).
        first: The driver who hands over.
        carries: The jobs to hand over; empty: none is made.
        held: All jobs of that driver, as they were read. If they have changed, nothing is written.
        need: What the second driver's vehicle must have room for, and the times.
        card: What a driver may see of it before accepting.
        code: What the second driver must give, to prove that the two have met.
        actor: Who asked for it.
        driver: The second driver, if an operator named one.
        pauses: False: nothing is to be handed over after all; the driver goes on.
    """

    job: str
    mall: str
    first: str
    carries: tuple[Job, ...]
    held: tuple[Job, ...]
    need: Need
    card: bytes
    code: str
    actor: str
    driver: str | None = None
    pauses: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """Under which conditions a node holds its drivers in a market.

    If any of them changes, other nodes may have taken the drivers out of matching, or the effect of
    a lost reply is unknown: the node takes its drivers back.

    Attributes:
        since_ms: When the node's lease began.
        lost_ms: When the market was last found to have lost writes; 0: never.
        line: How often the node's connection to the storage was opened.
    """

    since_ms: int
    lost_ms: int
    line: int


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat. ``dead``: other nodes whose lease has ended."""

    now_ms: int
    standing: Standing
    dead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnDriver:
    """A driver whose socket this node holds. ``fix`` came ``age_ms`` ago.

    ``vehicle``: as its hello stated it; ``claims``: those of its token.
    """

    driver: str
    epoch: int
    wish: Wish
    until_ms: int | None = None
    vehicle: StatedVehicle | Vehicle | None = None
    fix: DriverFix | None = None
    age_ms: int = 0
    device: Device | None = None
    claims: DriverClaims | None = None


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The result for a driver that its node takes back.

    ``verdict``: ``kept`` (it had not been taken out), ``back``, or ``lost`` to a newer hello.
    """

    verdict: str
    driver: Driver


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs to list. No ``states``: any. ``created_to_ms`` is exclusive."""

    states: frozenset[str] = frozenset()
    external_id: str | None = None
    created_from_ms: int = EARLIEST_MS
    created_to_ms: int = LATEST_MS
    updated_since_ms: int = EARLIEST_MS

    @property
    def needs_record(self) -> bool:
        """Whether a job must be read to tell if it matches."""
        return bool(
            self.states
            or self.created_from_ms > EARLIEST_MS
            or self.created_to_ms < LATEST_MS
            or self.updated_since_ms > EARLIEST_MS
        )

    def wants(self, state: str, created_ms: int, updated_ms: int) -> bool:
        """Return whether a job with these fields matches, whatever its external id."""
        return (
            (not self.states or state in self.states)
            and self.created_from_ms <= created_ms < self.created_to_ms
            and updated_ms >= self.updated_since_ms
        )


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs, newest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
