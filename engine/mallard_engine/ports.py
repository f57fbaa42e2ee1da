"""What the engine needs of the world, in its own verbs: a store and a push_sink.

Every transition of the store is one atomic step and is fenced: naming an old attempt, a closed
offer or a lost epoch has no effect and raises a :class:`Refused`. Repeating a transition is as
doing it once. Each returns the :class:`Effects` that whoever called it should follow up: they are
haste, not truth; a node that dies before it follows up loses nothing, as the due entries stay.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from mallard_engine.core.matching.travel_matrix import MatrixRequest
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import (
    Device,
    Driver,
    Job,
    Need,
    RoundRecord,
    StoreHold,
    Submission,
    Vehicle,
)
from mallard_engine.port_data import (
    MOST_COMING,
    NO_QUOTAS,
    Answered,
    Beat,
    DriverFix,
    DriverSnapshot,
    DriverUnavailable,
    DueEntry,
    DueKind,
    DuplicateExternalId,
    Effects,
    Fitting,
    Found,
    Freed,
    FreeDrivers,
    Hello,
    IdempotencyMismatch,
    JobPage,
    JobQuery,
    JobRef,
    LateRun,
    MarketQueue,
    MoreOffers,
    NoSuchDriver,
    NoSuchJob,
    Offered,
    OfferLive,
    OfferPlan,
    OwnDriver,
    PlannedJob,
    Push,
    PushEntry,
    PushKind,
    QuotaExceeded,
    Quotas,
    Recorded,
    Refused,
    Standing,
    Stop,
    StoreFull,
    StoreUnavailable,
    Submitted,
    TakenBack,
    WrongState,
)
from mallard_protocol.lifecycle import JobState, Outcome, Step, Wish
from mallard_protocol.messages import Proof

__all__ = [
    "MOST_COMING",
    "NO_QUOTAS",
    "Answered",
    "Beat",
    "Deadlines",
    "DriverFix",
    "DriverSnapshot",
    "DriverUnavailable",
    "Drivers",
    "DueEntry",
    "DueKind",
    "DuplicateExternalId",
    "Effects",
    "Fitting",
    "Found",
    "FreeDrivers",
    "Freed",
    "Hello",
    "IdempotencyMismatch",
    "JobPage",
    "JobQuery",
    "JobRef",
    "Jobs",
    "LateRun",
    "Leases",
    "MarketQueue",
    "MoreOffers",
    "NoSuchDriver",
    "NoSuchJob",
    "OfferLive",
    "OfferPlan",
    "Offered",
    "Offers",
    "OwnDriver",
    "PlannedJob",
    "Push",
    "PushEntry",
    "PushKind",
    "PushSink",
    "PushStream",
    "QuotaExceeded",
    "Quotas",
    "Recorded",
    "Refused",
    "Standing",
    "Stop",
    "Storage",
    "StoreFull",
    "StoreUnavailable",
    "Submitted",
    "TakenBack",
    "TravelMatrixSource",
    "WrongState",
]


class Drivers(Protocol):
    """Drivers of all markets: their sockets, states and positions."""

    async def hello(
        self,
        market: str,
        driver: str,
        *,
        node: str,
        vehicle: Vehicle | None,
        fix: DriverFix | None,
        device: Device | None = None,
    ) -> Hello:
        """Register a driver's socket; the newest wins. ``fix.at_ms`` 0: now. A vehicle or device
        that is None stays as it was. :raises StoreFull:"""

    async def set_device(self, market: str, driver: str, epoch: int, device: Device) -> None:
        """Keep where the app of an open socket can be woken; one of a late epoch is ignored."""

    async def disconnect(
        self, market: str, node: str, closed: Sequence[tuple[str, int]]
    ) -> Effects:
        """Take (driver, epoch) pairs of this node out of matching; late epochs are ignored."""

    async def take_back(
        self, market: str, node: str, drivers: Sequence[OwnDriver], *, rewound: bool
    ) -> tuple[Sequence[TakenBack], Effects]:
        """Register the sockets that this node still holds once more, at most 256 in a call; fenced
        by their epochs. ``rewound``: the store has lost writes."""

    async def held(self, market: str, node: str) -> Mapping[str, int]:
        """The drivers whose sockets the store believes to be at a node, with their epochs."""

    async def snapshot(self, market: str, driver: str) -> DriverSnapshot:
        """:raises NoSuchDriver:"""

    async def alive(self, market: str, driver: str) -> Answered:
        """A driver was heard without a socket: the limits of one who is away count from now.

        :raises NoSuchDriver:"""

    async def seen(self, market: str, driver: str) -> Effects:
        """A frame came from a driver who was unreachable: back into matching."""

    async def push_state(self, market: str, driver: str, why: str) -> Effects:
        """Push a driver's state to its phone. ``why``: a ``StateWhy``."""

    async def status(self, market: str, driver: str, wish: Wish, until_ms: int | None) -> Answered:
        """:raises Refused: ``no_position``, ``holds_jobs``, ``bad_field`` (until in the past)
        :raises OfferLive: `offline` while an offer is live: decline it first"""

    async def record_positions(self, market: str, fixes: Sequence[DriverFix]) -> Recorded:
        """At most 256 fixes; a driver may appear more than once, oldest first."""

    async def suspend(self, market: str, driver: str, reason: str) -> Answered:
        """Out of matching until resumed; a live offer is withdrawn. :raises NoSuchDriver:"""

    async def resume(self, market: str, driver: str) -> Answered:
        """:raises NoSuchDriver:"""

    async def near(
        self, market: str, lat: float, lon: float, radius_m: float, limit: int
    ) -> Sequence[Driver]:
        """Drivers whose last position lies in the circle, nearest first (all states)."""

    async def sample(self, market: str, limit: int) -> Sequence[Driver]:
        """At most ``limit`` drivers that the market knows, drawn at random, without positions."""

    async def any_free(self, market: str, drivers: Sequence[str]) -> bool:
        """Whether at least one of the drivers may be offered something."""

    async def dwells(self, market: str) -> Mapping[str, bytes]:
        """How long drivers stayed, by mall/store: see ``core/dwell.py``; off the hot path."""


class Jobs(Protocol):
    """Jobs of all markets: submission, reading and what happens to a job outside of its offers."""

    async def submit(self, submission: Submission) -> Submitted:
        """Store a job and its idempotency key in one step.

        :raises IdempotencyMismatch: :raises DuplicateExternalId: :raises StoreFull:
        :raises QuotaExceeded:"""

    async def submitted(
        self, market: str, service: str, key: str, body_hash: str
    ) -> Submitted | None:
        """What an earlier submission with this idempotency key made; None if there was none.

        :raises IdempotencyMismatch:"""

    async def get(self, job: str) -> Job:
        """:raises NoSuchJob:"""

    async def page(
        self,
        market: str,
        query: JobQuery,
        *,
        service: str | None,
        limit: int,
        cursor: str | None,
        oldest: str | None = None,
    ) -> JobPage:
        """Jobs of a service (None: of all), newest first, with ids from ``oldest`` up to, not
        including, ``cursor``: ids sort by time, nearly, so the two bound what is read.

        A page looks through a bounded number of jobs: it may be short, or empty, and lead on.
        """

    async def cancel(self, ref: JobRef, actor: str, reason: str) -> Effects:
        """:raises WrongState: from ``picked_up`` on. :raises NoSuchJob:"""

    async def ready(
        self,
        ref: JobRef,
        *,
        was: Job,
        body: bytes,
        card: bytes,
        need: Need,
        release_ms: int,
        etas: tuple[int, int] | None = None,
    ) -> Effects | None:
        """The parcels of a store are ready at another time: the order's new ``body``, ``card`` and
        ``need``; ``etas``: when its holder will now have collected and handed it over. Effects, or
        None if the order changed since ``was`` was read: start over.

        :raises WrongState: :raises NoSuchJob:
        """

    async def assign(self, ref: JobRef, driver: str, actor: str) -> Effects:
        """:raises WrongState: :raises NoSuchDriver: :raises DriverUnavailable:"""

    async def release(
        self, ref: JobRef, attempt: int, outcome: Outcome, actor: str, reason: str
    ) -> Effects:
        """Back to the queue from ``assigned`` or ``at_mall`` (gave up, silent, unassigned).

        :raises WrongState:"""

    async def close(self, ref: JobRef, state: JobState, actor: str, reason: str) -> Effects:
        """:raises WrongState:"""

    async def progress(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        step: Step,
        *,
        at_ms: int | None,
        proof: Proof | None = None,
        reason: str,
    ) -> Answered:
        """Every step of a held job, give-up too; ``proof`` is kept with the job.

        :raises Refused: ``not_yours``, ``stale_attempt``, ``wrong_state``, ``proof_needed``,
            ``wrong_code``, ``bad_field`` (too many proofs)"""

    async def claim(
        self, market: str, driver: str, job: str, attempt: int, state: str, *, at_ms: int | None
    ) -> Answered:
        """A driver's hello says that it has a parcel on board (``picked_up``) or has handed it over
        (``delivered``). What cannot be believed raises an alert.

        :raises Refused: ``not_yours`` (also for an unknown job), ``stale_attempt``, ``wrong_state``
        """

    async def arrive(self, ref: JobRef, driver: str, attempt: int) -> Effects:
        """A holder is at the mall by its position; nothing if it is no longer on its way there."""

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
        attempt: int | None = None,
        at_ms: int | None = None,
    ) -> Answered:
        """Keep a problem with its job; ``is_new`` is False where it was known already.

        :raises Refused: ``not_yours``, ``stale_attempt``"""

    async def update_etas(self, market: str, driver: str, stops: Sequence[Stop]) -> None:
        """A driver's run has changed (a job came on top, one was delivered): when its others will
        now be collected and handed over. Each job is fenced: one that the driver does not hold
        under that attempt any more keeps what it has. Nobody is told; the order API shows it."""

    async def holds(self, market: str) -> Mapping[str, StoreHold]:
        """The stores of a market that drivers found unable to hand over, by mall/store."""

    async def lift_hold(self, market: str, mall: str, store: str, until_ms: int) -> None:
        """Hold a store no longer than until then, as the shop says; not at all if that is past."""

    async def waiting(self, market: str, malls: Sequence[str]) -> Sequence[int]:
        """How many jobs wait at each mall."""

    async def counts(self, market: str) -> Mapping[str, int]:
        """How many jobs are in each state (and ``submitted`` in all); they add up (S13)."""


class Offers(Protocol):
    """What a round reads, the offers that it makes, and the drivers' answers to them."""

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
        named: Sequence[str] = (),
        after: str = "",
    ) -> Found:
        """Read only: the mall's queued jobs and the free drivers near it; in a market that pools
        (``max_run_jobs`` over 1), those too who could take one more job on their way there.

        Of more than ``jobs`` about so many: the first of each service (of very many services those
        after ``after``), and those ``named``, wherever they stand."""

    async def waiting_that_fit(
        self, market: str, mall: str, vehicles: Collection[Vehicle], low: str, high: str
    ) -> Fitting:
        """Read only: of a mall's queued jobs those that one of the vehicles could take by weight,
        volume and equipment; a bounded piece of the wait set's names, from ``low`` to ``high`` (as
        Redis writes such bounds)."""

    async def queue_of(self, market: str, limit: int, named: Sequence[str] = ()) -> MarketQueue:
        """Read only: the queued jobs of a whole market; of more than ``limit`` about so many, and
        with the next look the others; those ``named`` with each."""

    async def free_around(
        self,
        market: str,
        points: Sequence[tuple[float, float]],
        *,
        radius_m: float,
        max_radius_m: float,
        drivers: int,
        most: int,
        malls: Sequence[str] = (),
    ) -> FreeDrivers:
        """Read only: the free drivers around (lat, lon) points, the ``drivers`` nearest of each;
        all of them where there are no more than ``most``, and never more than that. In a market
        that pools, those too who could take one more job on their way to one of the ``malls``."""

    async def make(self, plan: OfferPlan) -> Offered:
        """Reserve the first driver of the plan who may still be offered its jobs, all of them."""

    async def reassign(self, late: LateRun, plan: OfferPlan) -> Offered:
        """Make before break: offer the one job of the plan, which ``late.driver`` still holds, to
        the first of its drivers who may be offered it, and take it off its holder in the same
        step. ``gone``: the holder is back, or no longer holds it so; ``nobody``: it keeps it."""

    async def withdraw(self, ref: JobRef, offer: str, actor: str) -> Effects:
        """Take a live offer back; its jobs look on. ``ref``: any of them."""

    async def record_round(self, market: str, record: RoundRecord) -> None:
        """Keep a round for ``explain``; off the hot path."""

    async def last_round(self, job: str) -> RoundRecord | None:
        """The last round that was kept."""

    async def ack(self, market: str, driver: str, offer: str) -> Effects:
        """:raises Refused: ``offer_closed``, ``not_yours``"""

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """:raises Refused: ``offer_closed``, ``not_yours``"""

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """:raises Refused: ``offer_closed``, ``not_yours``"""

    async def first_job(self, market: str, offer: str) -> JobRef | None:
        """The first job of an offer; None if there is no such offer."""


class Deadlines(Protocol):
    """What falls due, and what a sweeper does about it."""

    async def due(self, market: str, limit: int) -> Sequence[DueEntry]:
        """What is overdue, re-scored two seconds on and never popped."""

    async def lapse(self, entry: DueEntry) -> tuple[Outcome | None, int, Effects]:
        """End an offer whose acknowledgement or answer is overdue; None if it is not. Second: by
        how many milliseconds it was."""

    async def offer_more(self, entry: DueEntry) -> Offered:
        """The next driver of a job's staggered round is asked too, at the same attempt; the first
        accept ends the round for all. ``early``: its time has not come; ``nobody``: none of its
        ranking may be asked now; ``gone``: the round is over, or asks no more."""

    async def expire(self, ref: JobRef, reason: str, max_attempts: int) -> Effects | None:
        """End a job that nobody could take in time or whose attempts are spent; None if neither."""

    async def queue(self, ref: JobRef) -> Effects:
        """A scheduled job whose time has come looks for a driver."""

    async def next_opening(
        self, ref: JobRef, attempt: int, *, was: Need, need: Need, release_ms: int
    ) -> Effects | None:
        """Schedule a job that no driver can collect before closing for the mall's next opening, at
        which its parcels are ready by ``need``. It looks for a driver from ``release_ms`` on. None
        if it has changed since it was read as ``was`` at that attempt."""

    async def retry_later(self, ref: JobRef, attempt: int, at_ms: int) -> Effects:
        """Nobody was found: look again at ``at_ms`` at the latest."""

    async def silence(self, entry: DueEntry) -> Effects:
        """A held job whose driver may have gone silent: requeue, alert or look again later."""

    async def driver_due(self, market: str, driver: str) -> Effects:
        """A driver's own limits: stale position, cool-down, block end, lapsed wish."""

    async def forget(self, market: str) -> int:
        """Drop what has been kept long enough; returns how much was dropped (at most 256)."""


class Leases(Protocol):
    """The heartbeats of nodes, and the drivers of nodes that have died."""

    async def beat(self, market: str, node: str) -> Beat:
        """Renew this node's lease, and say under what it holds its drivers."""

    async def reap(self, market: str, node: str, limit: int) -> tuple[int, Effects]:
        """Take up to ``limit`` drivers of a dead node out of matching; how many there were."""

    async def leave(self, market: str, node: str) -> bool:
        """Give up this node's lease; False while it still holds drivers."""


class PushStream(Protocol):
    """The pushes of all nodes, in the order of their transitions."""

    async def head(self, market: str) -> str:
        """The position in a market's push stream after everything pushed so far."""

    async def read(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        """What came after each market's cursor, in order; waits up to ``block_ms`` for some."""


class Storage(Protocol):
    """The ports of one storage. Every coroutine of theirs may raise :class:`StoreUnavailable`."""

    @property
    def drivers(self) -> Drivers:
        """The drivers."""
        ...

    @property
    def jobs(self) -> Jobs:
        """The jobs."""
        ...

    @property
    def offers(self) -> Offers:
        """The offers."""
        ...

    @property
    def deadlines(self) -> Deadlines:
        """What falls due."""
        ...

    @property
    def leases(self) -> Leases:
        """The leases of nodes."""
        ...

    @property
    def pushes(self) -> PushStream:
        """The pushes of all nodes."""
        ...

    @property
    def down_since(self) -> float | None:
        """Since when (the event loop's seconds) the store cannot be reached, None if it can."""

    @property
    def outage(self) -> str | None:
        """Why the store cannot be used now: it is away, or refuses all writes; None if it can."""

    @property
    def warnings(self) -> Sequence[str]:
        """What is wrong with how the store is set up, though it can be used."""

    def now_ms(self) -> int:
        """The store's clock, as last heard plus what has passed since; for display only."""


class TravelMatrixSource(Protocol):
    """A source of travel times that is asked ahead of a ranking for all the ways it may need."""

    @property
    def waits(self) -> bool:
        """Whether its answer comes over a network; else nothing is waited for."""
        ...

    async def fetch(self, wanted: Sequence[MatrixRequest], at_ms: int) -> TravelTime:
        """What a ranking at that moment should reckon with. Within the market's time budget, and
        without errors: what the source does not tell is a default's to say, and counted."""
        ...


class PushSink(Protocol):
    """Puts pushes on the phones that are connected to this node."""

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        """Hand over at once what can go in order; the relay brings the rest."""
