"""What the engine needs of the world, in its own verbs: a store, a courier, a clock.

Every transition of the store is one atomic step and is fenced: naming an old attempt, a closed
offer or a lost epoch has no effect and raises a :class:`Refused`. Repeating a transition is as
doing it once. Each returns the :class:`Effects` that whoever called it should follow up: they are
haste, not truth; a node that dies before it follows up loses nothing, as the due entries stay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.core.model import (
    Driver,
    Job,
    LiveOffer,
    Near,
    Need,
    RankedDriver,
    RoundRecord,
    Submission,
    Vehicle,
    Waiting,
)
from protocol.codes import ErrorCode
from protocol.lifecycle import JobState, Outcome, Step, Wish


class StoreUnavailable(Exception):
    """The store cannot be reached or did not answer in time; the call's outcome is unknown."""


class StoreFull(Exception):
    """The store is out of memory; only ``hello`` and ``submit`` are refused so."""


class Refused(Exception):
    """The store refused a transition. ``code`` says why in the contract's words."""

    def __init__(self, code: ErrorCode, message: str = "") -> None:
        super().__init__(message or code.value)
        self.code = code


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


@dataclass(frozen=True, slots=True)
class Push:
    """Something that a phone must hear. ``seq`` is the driver's own counter, 0 for `replaced`.

    Kinds and the fields of ``body``:
    ``offer`` {offer: LiveOffer} · ``offer_closed`` {offer, why} ·
    ``job`` {job, attempt, state, reason} · ``state`` {state, why} · ``replaced`` {epoch}.
    """

    driver: str
    seq: int
    kind: str
    offer: LiveOffer | None = None
    offer_id: str = ""
    why: str = ""
    job: str = ""
    attempt: int = 0
    state: str = ""
    reason: str = ""
    mall: str = ""
    epoch: int = 0


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
class Effects:
    """What to hasten after a transition: phones to tell, malls whose jobs look for a driver again,
    drivers who became free, moments (epoch ms) at which something falls due."""

    now_ms: int = 0
    pushes: tuple[Push, ...] = ()
    malls: tuple[str, ...] = ()
    freed: tuple[Freed, ...] = ()
    due_ms: tuple[int, ...] = ()


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


@dataclass(frozen=True, slots=True)
class DriverFix:
    """One position on its way into the index. ``at_ms`` is the phone's word for when; ``inside``:
    whether it lies in its market at all."""

    driver: str
    at_ms: int
    lat: float
    lon: float
    acc_m: float = 0.0
    heading_deg: float | None = None
    speed_mps: float | None = None
    inside: bool = True


@dataclass(frozen=True, slots=True)
class Recorded:
    """The verdict on each fix of a batch, in order: ``ok``, ``old``, ``future``, ``impossible``,
    ``outside``, ``unknown`` (no such driver)."""

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
    """What a mall's round looks at: queued jobs (by priority and age) and free drivers (by
    distance). ``radius_m``: how far the search went; ``waiting_total``: how many jobs wait there;
    ``more``: more drivers were in that radius than asked for."""

    now_ms: int
    waiting: tuple[Waiting, ...]
    waiting_total: int
    near: tuple[Near, ...]
    radius_m: float
    more: bool


@dataclass(frozen=True, slots=True)
class OfferPlan:
    """One job and the drivers to offer it to, best first: the store takes the first who still may
    be offered it."""

    offer: str
    mall: str
    job: str
    attempt: int
    card: bytes
    drivers: tuple[RankedDriver, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of a plan. ``verdict``: ``offered``; ``nobody`` (no driver of the plan may be
    offered it any more); ``gone`` (the job no longer waits under that attempt)."""

    verdict: str
    driver: str | None
    effects: Effects


@dataclass(frozen=True, slots=True)
class DueEntry:
    """Something overdue. ``kind``: ``release``, ``retry``, ``offer``, ``silent`` or ``driver``;
    ``member``: the entry itself."""

    member: str
    kind: str
    id: str
    mall: str = ""
    offer: str = ""
    late_ms: int = 0


@dataclass(frozen=True, slots=True)
class Beat:
    """The answer to a heartbeat. ``lapsed``: the lease had run out, so this node's drivers may have
    been taken out; ``dead``: other nodes whose lease has run out."""

    now_ms: int
    lapsed: bool
    dead: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs, newest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


class Store(Protocol):
    """The store of all markets. Every coroutine may raise :class:`StoreUnavailable`."""

    @property
    def down_since(self) -> float | None:
        """Since when (``Clock.monotonic`` seconds) the store cannot be reached, None if it can."""

    def now_ms(self) -> int:
        """The store's clock, as last heard plus what has passed since; for display only."""

    # -- drivers
    async def hello(
        self,
        market: str,
        driver: str,
        *,
        node: str,
        vehicle: Vehicle | None,
        fix: DriverFix | None,
    ) -> Hello:
        """Register a driver's socket; the newest wins. ``fix.at_ms`` 0: now. :raises StoreFull:"""

    async def disconnect(
        self, market: str, node: str, closed: Sequence[tuple[str, int]]
    ) -> Effects:
        """Take (driver, epoch) pairs of this node out of matching; late epochs are ignored."""

    async def snapshot(self, market: str, driver: str) -> DriverSnapshot:
        """:raises NoSuchDriver:"""

    async def seen(self, market: str, driver: str) -> Effects:
        """A frame came from a driver who was unreachable: back into matching."""

    async def status(self, market: str, driver: str, wish: Wish, until_ms: int | None) -> Answered:
        """:raises Refused: ``no_position``, ``holds_jobs``, ``bad_field`` (until in the past)
        :raises OfferLive: `offline` while an offer is live: decline it first"""

    async def record_positions(self, market: str, fixes: Sequence[DriverFix]) -> Recorded:
        """At most 256 fixes; a driver may appear more than once, oldest first."""

    async def suspend(self, market: str, driver: str, reason: str) -> Answered:
        """Out of matching until resumed; a live offer is withdrawn. :raises NoSuchDriver:"""

    async def resume(self, market: str, driver: str) -> Answered:
        """:raises NoSuchDriver:"""

    async def drivers_near(
        self, market: str, lat: float, lon: float, radius_m: float, limit: int
    ) -> Sequence[Driver]:
        """Drivers whose last position lies in the circle, nearest first (all states)."""

    # -- jobs
    async def submit(self, submission: Submission) -> Submitted:
        """Store a job and its idempotency key in one step.

        :raises IdempotencyMismatch: :raises DuplicateExternalId: :raises StoreFull:"""

    async def submitted(
        self, market: str, service: str, key: str, body_hash: str
    ) -> Submitted | None:
        """What an earlier submission with this idempotency key made; None if there was none.

        :raises IdempotencyMismatch:"""

    async def job(self, job: str) -> Job:
        """:raises NoSuchJob:"""

    async def jobs(
        self,
        market: str,
        *,
        service: str | None,
        state: str | None,
        external_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> JobPage:
        """Jobs of a service (None: of all), newest first."""

    async def cancel(self, ref: JobRef, actor: str, reason: str) -> Effects:
        """:raises WrongState: from ``picked_up`` on. :raises NoSuchJob:"""

    async def ready(
        self, ref: JobRef, *, was: Job, body: bytes, card: bytes, need: Need, release_ms: int
    ) -> Effects | None:
        """The parcels of a store are ready at another time: the order's new ``body``, ``card`` and
        ``need``. Effects, or None if the order changed since ``was`` was read: start over.

        :raises WrongState: :raises NoSuchJob:
        """

    async def assign(self, ref: JobRef, driver: str, actor: str) -> Effects:
        """:raises WrongState: :raises NoSuchDriver: :raises DriverUnavailable:"""

    async def release(
        self, ref: JobRef, attempt: int, outcome: Outcome, actor: str, reason: str
    ) -> Effects:
        """Back to the queue from ``assigned`` or ``at_mall`` (gave up, silent, unassigned).

        :raises WrongState:"""

    async def close_job(self, ref: JobRef, state: JobState, actor: str, reason: str) -> Effects:
        """:raises WrongState:"""

    # -- rounds
    async def candidates(
        self,
        market: str,
        mall: str,
        lat: float,
        lon: float,
        *,
        radius_m: float,
        max_radius_m: float,
        drivers: int,
        jobs: int,
    ) -> Found:
        """Read only: the mall's queued jobs and the free drivers near it."""

    async def offer(self, plan: OfferPlan) -> Offered:
        """Reserve the first driver of the plan who may still be offered the job."""

    async def retry_later(self, ref: JobRef, attempt: int, at_ms: int) -> Effects:
        """Nobody was found: look again at ``at_ms`` at the latest."""

    async def record_round(self, market: str, record: RoundRecord) -> None:
        """Keep a round for ``explain``; off the hot path."""

    async def last_round(self, job: str) -> RoundRecord | None:
        """The last round that was kept."""

    # -- answers
    async def offer_ack(self, market: str, driver: str, offer: str) -> Effects:
        """:raises Refused: ``offer_closed``, ``not_yours``"""

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """:raises Refused: ``offer_closed``, ``not_yours``"""

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """:raises Refused: ``offer_closed``, ``not_yours``"""

    async def progress(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        step: Step,
        *,
        at_ms: int | None,
        age_checked: bool,
        reason: str,
    ) -> Answered:
        """Every step of a held job, give-up too.

        :raises Refused: ``not_yours``, ``stale_attempt``, ``wrong_state``, ``proof_needed``"""

    async def arrive(self, ref: JobRef, driver: str, attempt: int) -> Effects:
        """A holder is at the mall by its position; nothing if it is no longer on its way there."""

    async def offer_ref(self, market: str, offer: str) -> JobRef | None:
        """The job of an offer; None if there is no such offer."""

    async def problem(
        self,
        market: str,
        driver: str,
        *,
        kind: str,
        mall: str,
        job: str,
        store: str,
        until_ms: int | None,
        text: str,
    ) -> Answered:
        """:raises Refused: ``not_yours``"""

    # -- what falls due
    async def due(self, market: str, limit: int) -> Sequence[DueEntry]:
        """What is overdue, re-scored two seconds on and never popped."""

    async def lapse(self, entry: DueEntry) -> tuple[Outcome | None, int, Effects]:
        """End an offer whose acknowledgement or answer is overdue; None if it is not. Second: by
        how many milliseconds it was."""

    async def expire(self, ref: JobRef, reason: str, max_attempts: int) -> Effects | None:
        """End a job that nobody could take in time or whose attempts are spent; None if neither."""

    async def queue(self, ref: JobRef) -> Effects:
        """A scheduled job whose time has come looks for a driver."""

    async def silence(self, entry: DueEntry) -> Effects:
        """A held job whose driver may have gone silent: requeue, alert or look again later."""

    async def driver_due(self, market: str, driver: str) -> Effects:
        """A driver's own limits: stale position, cool-down, block end, lapsed wish."""

    # -- nodes
    async def beat(self, market: str, node: str) -> Beat:
        """Renew this node's lease."""

    async def reap(self, market: str, node: str, limit: int) -> tuple[int, Effects]:
        """Take up to ``limit`` drivers of a dead node out of matching; how many there were."""

    # -- pushes
    async def push_head(self, market: str) -> str:
        """The position in a market's push stream after everything pushed so far."""

    async def pushes(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        """What came after each market's cursor, in order; waits up to ``block_ms`` for some."""

    async def leave(self, market: str, node: str) -> bool:
        """Give up this node's lease; False while it still holds drivers."""

    async def counts(self, market: str) -> Mapping[str, int]:
        """How many jobs are in each state (and ``submitted`` in all); they add up (S13)."""

    async def free_drivers(self, market: str) -> int:
        """How many drivers may be offered something now."""

    async def waiting(self, market: str, malls: Sequence[str]) -> Sequence[int]:
        """How many jobs wait at each mall."""

    async def withdraw(self, ref: JobRef, offer: str, actor: str) -> Effects:
        """Take a live offer back; its job looks on."""

    async def forget(self, market: str) -> int:
        """Drop what has been kept long enough; returns how much was dropped (at most 256)."""


class Courier(Protocol):
    """Puts pushes on the phones that are connected to this node."""

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        """Hand over at once what can go in order; the relay brings the rest."""


class Clock(Protocol):
    """Time for waiting, not for deciding."""

    def monotonic(self) -> float:
        """Seconds."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
