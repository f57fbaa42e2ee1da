"""What passes through the ports: plain data, and the refusals of the store as exceptions."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from mallard_engine.core.model import (
    Device,
    Driver,
    Job,
    LiveOffer,
    Near,
    RankedDriver,
    RoundRecord,
    Vehicle,
    Waiting,
)
from mallard_protocol.codes import ErrorCode
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS
from mallard_protocol.lifecycle import JobState, Wish

# So many drivers on their way to a mall are looked at for one more job.
MOST_COMING = 64


class StoreUnavailable(Exception):
    """The store cannot be reached or did not answer in time; the call's outcome is unknown."""


class StoreFull(Exception):
    """The store is out of memory; only ``hello`` and ``submit`` are refused so."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """How much one service may have in one market: jobs that are not ended, and bytes of the jobs
    submitted within the time that ended ones are kept. 0: no limit."""

    open_jobs: int = 0
    stored_bytes: int = 0


NO_QUOTAS = Quotas()


class QuotaExceeded(Exception):
    """The service has used up a quota, ``open_jobs`` or ``stored_bytes``."""


class Refused(Exception):
    """The store refused a transition. ``code`` says why in the contract's words.

    ``missing``: the kinds of proof that are; ``tries_left``: how many wrong codes still are.
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


class NoSuchJob(Exception):
    """There is no such job."""


class NoSuchDriver(Exception):
    """There is no such driver."""


class IdempotencyMismatch(Exception):
    """The idempotency key was used for other JSON."""


class DuplicateExternalId(Exception):
    """The service has a job of this external id; ``job`` is its id."""

    def __init__(self, job: str) -> None:
        super().__init__(job)
        self.job = job


class WrongState(Exception):
    """The job's state does not allow this; ``state`` is what it is."""

    def __init__(self, state: JobState) -> None:
        super().__init__(state.value)
        self.state = state


class OfferLive(Exception):
    """The driver has a live offer in the way; ``offer`` is its id."""

    def __init__(self, offer: str) -> None:
        super().__init__(offer)
        self.offer = offer


class DriverUnavailable(Exception):
    """An operator named a driver who cannot take the job now; the message says why."""


@dataclass(frozen=True, slots=True)
class JobRef:
    """Which job, and the mall under whose key its waiting entry lives."""

    job: str
    mall: str


class PushKind(StrEnum):
    """What a push says, with the fields of a `Push` that it fills."""

    OFFER = "offer"
    """``offer``."""
    OFFER_CLOSED = "offer_closed"
    """``offer_id``, ``why``."""
    JOB = "job"
    """``job``, ``mall``, ``attempt``, ``state``, ``reason``, ``driver_state``."""
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


@dataclass(frozen=True, slots=True)
class PushEntry:
    """A push as tailed from a market's stream; ``cursor`` is where to go on from."""

    market: str
    cursor: str
    push: Push


@dataclass(frozen=True, slots=True)
class Freed:
    """A driver who just became one that may be offered something, and where."""

    driver: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class LateRun:
    """A job whose holder may come late: is there one who is earlier? ``lost_ms``: since when it is
    silent; 0: it is connected, and may be stuck."""

    mall: str
    job: str
    driver: str
    attempt: int
    lost_ms: int


@dataclass(frozen=True, slots=True)
class Effects:
    """What to hasten after a transition: phones to tell, malls whose jobs look for a driver again,
    jobs that have just begun to, as (mall, job), drivers who became free, which entries fall due
    when (epoch ms), which no longer do, and whose runs may come late. ``event``: the last one that
    it appended to the market's stream; ``alerts``: what people must look after."""

    now_ms: int = 0
    pushes: tuple[Push, ...] = ()
    malls: tuple[str, ...] = ()
    queued: tuple[tuple[str, str], ...] = ()
    freed: tuple[Freed, ...] = ()
    due: tuple[tuple[str, int], ...] = ()
    over: tuple[str, ...] = ()
    late: tuple[LateRun, ...] = ()
    event: str = ""
    alerts: tuple[str, ...] = ()

    @property
    def changed_jobs(self) -> bool:
        """Whether a job has changed: then something falls due, is over, or looks for a driver."""
        return bool(self.due or self.over or self.malls)


@dataclass(frozen=True, slots=True)
class Hello:
    """A driver's socket is registered. ``epoch`` fences its close."""

    epoch: int
    seq: int
    effects: Effects


@dataclass(frozen=True, slots=True)
class DriverSnapshot:
    """The truth about one driver at ``now_ms``."""

    now_ms: int
    driver: Driver
    offer: LiveOffer | None
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """A driver's request was carried out, now or by an earlier, equal one."""

    driver: Driver
    effects: Effects
    jobs: tuple[Job, ...] = ()
    job_state: str = ""
    attempt: int = 0
    # Whether it changed anything: a repeat does not.
    is_new: bool = True


class DriverFix(NamedTuple):
    """One position on its way into the index. ``at_ms`` is the phone's word for when; ``fault``:
    the verdict where it is known before the store is asked, ``malformed`` or ``outside`` (of its
    market). A tuple, as there are thousands a second."""

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
    """The verdict on each fix of a batch, in order: ``ok``, ``old``, ``future``, ``impossible``,
    ``outside``, ``malformed``, ``unknown`` (no such driver)."""

    verdicts: tuple[str, ...]
    effects: Effects


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job of a submission; ``replayed``: an earlier, equal submission made it."""

    job: Job
    replayed: bool
    effects: Effects


@dataclass(frozen=True, slots=True)
class Found:
    """What a mall's round looks at: queued jobs (each service's by priority and age) and free
    drivers (by distance). ``radius_m``: how far the search went; ``waiting_total``: how many jobs
    wait there; ``more``: more drivers were in that radius than asked for; ``holds``: until when
    stores of the market are held, by mall/store.

    ``coming``: drivers on their way to this mall, none of their jobs there yet, who may be offered
    one more job from it (``near`` are those who hold none). What they carry is in their ``jobs``.
    In no order, at most `MOST_COMING`; empty in a market that does not pool.

    ``after``: the last service that was looked at, where more wait than one look reads."""

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
    """Queued jobs that some vehicle could take. ``low``: where to look on; None: all of them have
    been looked at."""

    jobs: tuple[Waiting, ...]
    low: str | None


@dataclass(frozen=True, slots=True)
class MarketQueue:
    """What a market's batch looks at: (mall, job) by priority and age; ``total``: how many wait."""

    now_ms: int
    jobs: tuple[tuple[str, Waiting], ...]
    total: int


@dataclass(frozen=True, slots=True)
class FreeDrivers:
    """Free drivers around several points; their ``distance_m`` is not worked out. ``coming``: those
    on their way to one of the malls with room for one more job from it, as in `Found`."""

    now_ms: int
    near: tuple[Near, ...]
    coming: tuple[Near, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job of a plan, at the attempt under which it waits; ``record``: its round, for ``explain``.

    ``etas``: for each driver of the plan, in the plan's order, when this job would be collected and
    handed over (epoch ms). Empty: as the driver itself says, which is right for a run of one.
    """

    job: str
    attempt: int
    record: RoundRecord
    etas: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class MoreOffers:
    """A staggered round: after the first driver of a plan up to ``most`` in all are asked, each
    ``gap_ms`` after the one before (0: all at once); ``offers``: the ids of those offers."""

    most: int
    gap_ms: int
    offers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfferPlan:
    """One or more jobs of a mall and the drivers to offer them to, best first: the store takes the
    first who still may be offered them all, and keeps the records of the round for ``explain``.

    ``jobs``: in the order of their drop-offs. The offer goes out whole or not at all: only if every
    job still waits at its attempt. A driver who holds nothing takes as many jobs as its vehicle has
    room for (``max_jobs``, the market's ``max_run_jobs``, weight, volume, equipment); one who is on
    its way to this mall takes one more job, beside what it holds: a plan of several jobs passes it
    over. That the first job of an empty vehicle fits is the ranking's affair, as ever.

    ``more``: the one job of the plan may be out to several of its drivers in one round.
    """

    offer: str
    mall: str
    jobs: tuple[PlannedJob, ...]
    drivers: tuple[RankedDriver, ...]
    more: MoreOffers | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """When a job that a driver holds under ``attempt`` will be collected and handed over."""

    job: str
    attempt: int
    eta_pickup_ms: int
    eta_dropoff_ms: int


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of a plan. ``verdict``: ``offered``; ``nobody`` (no driver of the plan may be
    offered it any more); ``gone`` (the jobs in ``gone`` no longer wait under that attempt, so none
    was offered: plan again without them)."""

    verdict: str
    driver: str | None
    effects: Effects
    gone: tuple[str, ...] = ()


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
    SILENT = "silent"
    """The driver who holds a job may have gone silent."""
    DRIVER = "driver"
    """A limit of a driver's own has passed."""
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


@dataclass(frozen=True, slots=True)
class Standing:
    """Under what a node holds its drivers in a market. Where any of it has changed, other nodes may
    have taken them out, or a reply that nobody heard has had its effect: it takes them back.

    ``since_ms``: when its lease began; ``lost_ms``: when the market was last found to have lost
    writes, 0 never; ``line``: how many times the node's line to the store was opened.
    """

    since_ms: int
    lost_ms: int
    line: int


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat. ``dead``: other nodes whose lease has run out."""

    now_ms: int
    standing: Standing
    dead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnDriver:
    """What a node knows of a driver whose socket it holds. ``fix`` came ``age_ms`` ago."""

    driver: str
    epoch: int
    wish: Wish
    until_ms: int | None = None
    vehicle: Vehicle | None = None
    fix: DriverFix | None = None
    age_ms: int = 0
    device: Device | None = None


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What became of a driver that its node takes back. ``verdict``: ``kept`` (it had not been
    taken out), ``back``, or ``lost`` to a newer hello. ``driver``: its record."""

    verdict: str
    driver: Driver


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs to list. ``states``: none means any. ``created_to_ms`` is itself out of the
    range."""

    states: frozenset[str] = frozenset()
    external_id: str | None = None
    created_from_ms: int = EARLIEST_MS
    created_to_ms: int = LATEST_MS
    updated_since_ms: int = EARLIEST_MS

    @property
    def needs_record(self) -> bool:
        """Whether a job's id alone does not tell if it is wanted."""
        return bool(
            self.states
            or self.created_from_ms > EARLIEST_MS
            or self.created_to_ms < LATEST_MS
            or self.updated_since_ms > EARLIEST_MS
        )

    def wants(self, state: str, created_ms: int, updated_ms: int) -> bool:
        """Whether a job with these fields is wanted, whatever its external id."""
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
