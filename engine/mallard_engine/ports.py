"""The ports of the engine: its storage, a source of travel times, and a sink for pushes.

Each transition of the storage is one atomic step and is fenced: a call that names an outdated
attempt, a closed offer or an outdated epoch has no effect and raises :class:`Refused`. Transitions
are idempotent. Each returns the :class:`Effects` that its caller should apply. Effects are an
optimisation: if a node crashes before it has applied them, the sweeper recovers from the due set.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from mallard_engine.core.market_events import MarketEvent
from mallard_engine.core.matching.travel_matrix import MatrixRequest
from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import (
    Device,
    Driver,
    Job,
    Need,
    ReturnPlan,
    RoundRecord,
    StoreHold,
    Submission,
    Vehicle,
)
from mallard_engine.core.vehicles import (
    DriverClaims,
    DriverProfile,
    RegisteredDriver,
    StatedVehicle,
)
from mallard_engine.port_data import (
    MOST_COMING,
    NO_QUOTAS,
    Answered,
    Around,
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
    LateJob,
    MarketQueue,
    MoreOffers,
    NoSuchDriver,
    NoSuchJob,
    NoSuchProblem,
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
    TooManyWrongCodes,
    TransferOpen,
    TransferPlan,
    WrongState,
    nowhere,
)
from mallard_protocol.codes import CancelReason
from mallard_protocol.events import Place
from mallard_protocol.lifecycle import JobState, Outcome, Risk, ShopState, Step, Wish
from mallard_protocol.messages import Proof

__all__ = [
    "MOST_COMING",
    "NO_QUOTAS",
    "Answered",
    "Around",
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
    "EventLog",
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
    "LateJob",
    "Leases",
    "MarketQueue",
    "MoreOffers",
    "NoSuchDriver",
    "NoSuchJob",
    "NoSuchProblem",
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
    "Returns",
    "Shops",
    "Standing",
    "Stop",
    "Storage",
    "StoreFull",
    "StoreUnavailable",
    "Submitted",
    "TakenBack",
    "TooManyWrongCodes",
    "TransferOpen",
    "TransferPlan",
    "Transfers",
    "TravelMatrixSource",
    "WrongState",
    "nowhere",
]


class Drivers(Protocol):
    """Drivers of all markets: their sockets, states and positions."""

    async def hello(
        self,
        market: str,
        driver: str,
        *,
        node: str,
        vehicle: StatedVehicle | Vehicle | None,
        fix: DriverFix | None,
        device: Device | None = None,
        claims: DriverClaims | None = None,
    ) -> Hello:
        """Register a driver's socket and replace an older one.

        Args:
            market: The driver's market.
            driver: The driver.
            node: The node that holds the socket.
            vehicle: As the app states it; None keeps what it stated last. It narrows the vehicle
                that the register or the token states.
            fix: The driver's position; ``at_ms`` 0 stands for now.
            device: None keeps the device that is stored.
            claims: What the driver's token states.

        Raises:
            StoreFull: The driver holds no job and has no live offer.
        """

    async def set_device(self, market: str, driver: str, epoch: int, device: Device) -> None:
        """Store the device token of an open socket. Has no effect for an outdated epoch."""

    async def set_claims(
        self, market: str, driver: str, epoch: int, claims: DriverClaims | None
    ) -> Effects:
        """Store what a fresh token of an open socket states. No effect for an outdated epoch."""

    async def disconnect(
        self, market: str, node: str, closed: Sequence[tuple[str, int]]
    ) -> Effects:
        """Take drivers of this node out of matching.

        ``closed`` holds (driver, epoch) pairs; those with an outdated epoch are ignored.
        """

    async def take_back(
        self, market: str, node: str, drivers: Sequence[OwnDriver], *, rewound: bool
    ) -> tuple[Sequence[TakenBack], Effects]:
        """Register the sockets that this node still holds again; fenced by their epochs.

        Args:
            market: Their market.
            node: This node.
            drivers: At most 256.
            rewound: The storage has lost writes.
        """

    async def held(self, market: str, node: str) -> Mapping[str, int]:
        """Return the drivers whose sockets are stored as held by a node, with their epochs."""

    async def snapshot(self, market: str, driver: str) -> DriverSnapshot:
        """Return the driver with its live offer and its jobs.

        Raises:
            NoSuchDriver: The market has no such driver.
        """

    async def alive(self, market: str, driver: str) -> Answered:
        """Note a request of a driver without a socket. Restarts its time limits for absence.

        Raises:
            NoSuchDriver: The market has no such driver.
        """

    async def seen(self, market: str, driver: str) -> Effects:
        """Return an unreachable driver to matching, after a frame from it."""

    async def push_state(self, market: str, driver: str, why: str) -> Effects:
        """Push the driver's state to its socket. ``why`` is a ``StateWhy``."""

    async def status(self, market: str, driver: str, wish: Wish, until_ms: int | None) -> Answered:
        """Set what the driver wishes, until ``until_ms`` (epoch ms) if given.

        Raises:
            Refused: ``no_position``, ``holds_jobs``, or ``bad_field`` (``until_ms`` is in the
            past). OfferLive: The wish is to go offline, and a live offer must be declined first.
        """

    async def record_positions(self, market: str, fixes: Sequence[DriverFix]) -> Recorded:
        """Record at most 256 fixes; those of one driver must be oldest first."""

    async def suspend(self, market: str, driver: str, reason: str) -> Answered:
        """Take the driver out of matching until it is resumed.

        Raises:
            NoSuchDriver: The market has no such driver.
        """

    async def resume(self, market: str, driver: str) -> Answered:
        """End a suspension.

        Raises:
            NoSuchDriver: The market has no such driver.
        """

    async def near(
        self, market: str, lat: float, lon: float, radius_m: float, limit: int
    ) -> Sequence[Driver]:
        """Return drivers whose last position lies in the circle, nearest first, in any state.

        Reads every position of the market: for operators only.
        """

    async def sample(self, market: str, limit: int) -> Sequence[Driver]:
        """Return at most ``limit`` random drivers of the market, without their positions."""

    async def any_free(self, market: str, drivers: Sequence[str]) -> bool:
        """Return whether at least one of the drivers may be offered a job."""

    async def dwells(self, market: str) -> Mapping[str, bytes]:
        """Return the dwell sketches by mall/store (`DwellSketch`). Off the hot path."""


class Jobs(Protocol):
    """Jobs of all markets: submission, reading and what happens to a job outside of its offers."""

    async def submit(self, submission: Submission) -> Submitted:
        """Store a job and its idempotency key in one step.

        Raises:
            IdempotencyMismatch: The key was used with another body.
            DuplicateExternalId: The service has a job of this external id.
            StoreFull: The server is out of memory.
            QuotaExceeded: The service has used up a quota.
        """

    async def submitted(
        self, market: str, service: str, key: str, body_hash: str
    ) -> Submitted | None:
        """Return the result of an earlier submission with this idempotency key, or None.

        Raises:
            IdempotencyMismatch: The key was used with another body.
        """

    async def get(self, job: str) -> Job:
        """Return a job.

        Raises:
            NoSuchJob: There is no such job.
        """

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
        """Return a page of jobs, newest first.

        A page reads a bounded number of jobs: it may be short or empty and still have a next
        cursor.

        Args:
            market: The market.
            query: Which jobs to list.
            service: The service that submitted them; None: all services.
            limit: At most so many jobs.
            cursor: List jobs with a lower id; None: from the newest.
            oldest: List jobs with this id or a higher one. Ids sort by time.
        """

    async def cancel(
        self,
        ref: JobRef,
        actor: str,
        reason: str,
        *,
        code: str = CancelReason.OTHER,
        note: str = "",
        plan: ReturnPlan | None = None,
    ) -> Effects:
        """Cancel a job. One on board goes back and ends as ``returned``.

        Args:
            ref: The job.
            actor: Who cancels it.
            reason: Why, as it was given.
            code: Why, as a ``CancelReason``.
            note: A text beside the code.
            plan: Where it goes back to, if it is on board.

        Raises:
            WrongState: The job has ended.
            NoSuchJob: There is no such job.
        """

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
        actor: str,
        said: str | None = None,
        is_ready: bool = False,
    ) -> Effects | None:
        """Change when the parcels of a job are ready.

        Args:
            ref: The job.
            was: The job as it was read. If its order has changed since, nothing is written.
            body: The new order.
            card: The new card for drivers.
            need: The new need.
            release_ms: When a scheduled job begins to look for a driver.
            etas: The holder's new pickup and drop-off times (epoch ms).
            actor: Who says so.
            said: The store of which the shop or the order service says so: that ends the job's
                hold for it. None: a driver has found out.
            is_ready: That store's parcels are ready now.

        Returns:
            None if the order has changed since ``was`` was read: read it again.

        Raises:
            WrongState: The job is on board, or has ended.
            NoSuchJob: There is no such job.
        """

    async def shop_says(
        self, ref: JobRef, store: str, state: ShopState, actor: str, parcels: int | None = None
    ) -> Effects:
        """Note that a shop has fewer parcels than ordered, or none, and apply the order's rule.

        Args:
            ref: The job.
            store: The shop.
            state: ``short`` or ``missing``; for ``ready`` see `ready`.
            actor: Who says so.
            parcels: How many are there, if ``short``.

        Raises:
            WrongState: The shop's parcels were collected, or the job has ended.
            NoSuchJob: There is no such job.
            Refused: ``bad_field``: the job has no such shop, or as many parcels were ordered.
        """

    async def assign(self, ref: JobRef, driver: str, actor: str) -> Effects:
        """Assign a job to a driver whom an operator names.

        Raises:
            WrongState: The job is on board, or has ended.
            NoSuchDriver: The market has no such driver.
            DriverUnavailable: The driver cannot take it now.
        """

    async def release(
        self, ref: JobRef, attempt: int, outcome: Outcome, actor: str, reason: str
    ) -> Effects:
        """Return an ``assigned`` or ``at_mall`` job to the queue.

        Raises:
            WrongState: The job is in another state, or at another attempt.
        """

    async def close(self, ref: JobRef, state: JobState, actor: str, reason: str) -> Effects:
        """End a job that is on board.

        Raises:
            WrongState: The job is in another state.
        """

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
        store: str | None = None,
        parcels: int | None = None,
        plan: ReturnPlan | None = None,
    ) -> Answered:
        """Advance a held job by one step, or give it up; for ``returned`` see `Returns.returned`.

        ``store`` and ``parcels`` belong to ``collected``: what that shop handed over; without
        ``parcels`` everything. ``proof`` is stored with the job. ``at_ms`` is when the step
        happened, by the driver's clock; the steps in ``TIMED_STEPS`` need it. ``plan``: where it
        goes back to, for ``returning``.

        Raises:
            Refused: ``not_yours``, ``stale_attempt``, ``wrong_state``, ``proof_needed``,
            ``wrong_code``,
                or ``bad_field`` (too many proofs, no such store, more parcels than ordered).
        """

    async def claim(
        self, market: str, driver: str, job: str, attempt: int, state: str, *, at_ms: int | None
    ) -> Answered:
        """Record a driver's claim to have a parcel on board, or to have delivered it.

        ``state`` is ``picked_up`` or ``delivered``. A claim that contradicts the storage raises an
        alert.

        Raises:
            Refused: ``not_yours`` (also for an unknown job), ``stale_attempt``, or ``wrong_state``.
        """

    async def arrive(self, ref: JobRef, driver: str, attempt: int) -> Effects:
        """Note by its position that a holder is at the mall. No effect unless it is on its way."""

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
        """Store a problem with its job; ``is_new`` is False if it was known already.

        Raises:
            Refused: ``not_yours`` or ``stale_attempt``.
        """

    async def update_etas(self, market: str, driver: str, stops: Sequence[Stop]) -> None:
        """Store new pickup and drop-off times of jobs that a driver holds. Sends no push.

        Fenced: a job that the driver does not hold under that attempt any more keeps its times.
        """

    async def holds(self, market: str) -> Mapping[str, StoreHold]:
        """Return the market's stores that cannot hand over parcels now, by mall/store."""

    async def lift_hold(self, market: str, mall: str, store: str, until_ms: int) -> None:
        """Shorten the hold of a store to ``until_ms``; end it if that is past."""

    async def waiting(self, market: str, malls: Sequence[str]) -> Sequence[int]:
        """Return how many jobs wait at each mall."""

    async def counts(self, market: str) -> Mapping[str, int]:
        """Return the number of jobs by state, and ``submitted`` in all; they add up (S13).

        A transfer counts as ``transfer_<state>``: it is no customer's job.
        """


class Shops(Protocol):
    """What the counter of a shop reads and reports."""

    async def set_hours(
        self, market: str, mall: str, store: str, until_ms: int, actor: str
    ) -> Effects:
        """Close a shop by its own word until ``until_ms`` (epoch ms); 0 or a past time opens it.

        While it is closed, no driver is searched for its jobs. `apply_hours` follows for each of
        the shop's open jobs, and for those that come back to it.
        """

    async def apply_hours(self, ref: JobRef, store: str, actor: str) -> Effects:
        """Apply to one job what its shop has said of its hours; a repeat has no further effect."""

    async def hand_over(
        self, ref: JobRef, store: str, code: str, parcels: int | None, actor: str
    ) -> Answered:
        """Hand over a shop's parcels against the code that the driver shows.

        The effect is that of the driver's own ``collected``. The code of an earlier holder is that
        holder's claim of custody. Without ``parcels``: all that are there.

        Raises:
            NoSuchJob: There is no such job, or it has no parcels there.
            WrongState: No driver can have them now.
            Refused: ``wrong_code``, or ``bad_field`` (more parcels than ordered).
            TooManyWrongCodes: Of this job, or of this shop.
        """

    async def pickups(
        self, market: str, mall: str, store: str, *, since_ms: int, limit: int, cursor: str | None
    ) -> JobPage:
        """Return a page of a shop's jobs of all services, newest first.

        Those that have not ended, and those whose parcels were collected since ``since_ms``. A
        page reads a bounded number of jobs: it may be short or empty and still have a next cursor.

        Args:
            market: The market.
            mall: The shop's mall.
            store: The shop.
            since_ms: The start of the shop's day.
            limit: At most so many jobs.
            cursor: List jobs with a lower id; None: from the newest.
        """

    async def returns(
        self, market: str, mall: str, store: str, *, limit: int, cursor: str | None
    ) -> JobPage:
        """Return a page of the jobs that go back to a shop, newest first; as `pickups`."""

    async def vehicles(self, market: str, drivers: Sequence[str]) -> Mapping[str, str]:
        """Return the kind of vehicle of each of these drivers that is known."""


class Returns(Protocol):
    """What happens at the customer's door, and the way back.

    ``plan`` is where the job would go back to; without one, the sweeper makes one at once.
    """

    async def undelivered(
        self,
        ref: JobRef,
        driver: str,
        *,
        kind: str,
        store: str,
        until_ms: int | None,
        text: str,
        attempt: int | None,
        at_ms: int | None,
        plan: ReturnPlan | None,
    ) -> Answered:
        """Record that nobody takes the parcels: a problem, and once a visit a delivery attempt.

        Raises:
            Refused: ``not_yours`` or ``stale_attempt``.
        """

    async def answer(
        self,
        ref: JobRef,
        problem: str,
        *,
        action: str,
        text: str,
        actor: str,
        plan: ReturnPlan | None,
    ) -> Effects:
        """Answer a problem and tell the driver. The same answer again has no effect.

        Raises:
            NoSuchProblem: The job has no such problem.
            WrongState: The action does not fit the job's state.
        """

    async def returned(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        *,
        at_ms: int | None,
        proof: Proof | None,
        reason: str,
        at_place: bool,
        plan: ReturnPlan | None,
    ) -> Answered:
        """End a job that goes back, by its driver's word.

        Args:
            ref: The job.
            driver: Its driver.
            attempt: The attempt under which the driver holds it.
            at_ms: When, by the driver's clock.
            proof: The code of the place, or a photo where nobody shows one.
            reason: The driver's reason, "" without one.
            at_place: Its last fix since ``returning`` is inside of the place. An earlier one that
                `note_at_place` has noted is as good.
            plan: Where it goes back to, if no place is stored with the job.

        Raises:
            Refused: as ``progress``, or ``no_position`` (the driver has not been there).
        """

    async def received(self, ref: JobRef, actor: str, reason: str = "") -> Effects:
        """End a job that goes back, by the word of the shop that has received it.

        Raises:
            WrongState: The job does not go back.
            NoSuchJob: There is no such job.
        """

    async def show_codes(self, market: str, mall: str, store: str, jobs: Sequence[str]) -> None:
        """Note that a shop has been shown the codes of jobs that go back to it.

        From then on the driver must give the code: a photo does not replace it.
        """

    async def note_at_place(self, job: Job, mall: str) -> Effects:
        """Note that a fix of the job's holder lies inside of the place that it goes back to."""

    async def act_at_door(self, entry: DueEntry, attempt: int, plan: ReturnPlan | None) -> Effects:
        """Apply the order's rule to parcels that nobody takes, if that is due."""

    async def set_place(self, entry: DueEntry, attempt: int, plan: ReturnPlan) -> Effects:
        """Store where a job goes back to, with an alert if that has changed."""


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
        """Read the queued jobs of a mall and the free drivers near it. Writes nothing.

        In a market that pools (``max_run_jobs`` over 1) it also reads drivers on their way to the
        mall who could take one more job.

        Args:
            market: The market.
            mall: The mall.
            lat: The centre of the search.
            lon: The centre of the search.
            radius_m: The radius of the first search; it grows until it holds enough drivers.
            max_radius_m: The largest radius.
            drivers: How many drivers are enough.
            jobs: How many jobs to read, about: of more, the first ones of each service.
            named: Jobs to read wherever they stand in the queue.
            after: Of very many services, start after this one.
        """

    async def waiting_that_fit(
        self, market: str, mall: str, vehicles: Collection[Vehicle], low: str, high: str
    ) -> Fitting:
        """Read the queued jobs of a mall that one of the vehicles could take.

        Decides by weight, volume and equipment. Reads a bounded part of the queue, of the names
        from ``low`` to ``high`` (written as Redis writes such bounds). Writes nothing.
        """

    async def queue_of(self, market: str, limit: int, named: Sequence[str] = ()) -> MarketQueue:
        """Read the queued jobs of a whole market. Writes nothing.

        Of more than ``limit`` it reads about so many, and others with the next call; those
        ``named`` with each call.
        """

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
        """Read the free drivers around points, the ``drivers`` nearest of each. Writes nothing.

        Reads all free drivers where there are at most ``most``, and never more than that. In a
        market that pools it also reads drivers on their way to one of the ``malls`` who could take
        one more job.
        """

    async def make(self, plan: OfferPlan) -> Offered:
        """Offer all jobs of a plan to the first of its drivers who may still be offered them."""

    async def reassign(self, late: LateJob, plan: OfferPlan) -> Offered:
        """Offer a held job to a better driver, and take it off its holder, in one step.

        The offer goes to the first driver of the plan who may be offered it. ``gone``: the holder
        is connected again, or its attempt is over; ``nobody``: no driver may; the holder keeps it.
        """

    async def withdraw(self, ref: JobRef, offer: str, actor: str) -> Effects:
        """Withdraw a live offer. ``ref`` is any of its jobs; they return to the queue."""

    async def record_round(self, market: str, record: RoundRecord) -> None:
        """Store a round for ``explain``. Off the hot path."""

    async def last_round(self, job: str) -> RoundRecord | None:
        """Return the last round that was stored for a job."""

    async def ack(self, market: str, driver: str, offer: str) -> Effects:
        """Acknowledge an offer.

        Raises:
            Refused: ``offer_closed`` or ``not_yours``.
        """

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """Accept an offer.

        Raises:
            Refused: ``offer_closed`` or ``not_yours``.
        """

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """Decline an offer.

        Raises:
            Refused: ``offer_closed`` or ``not_yours``.
        """

    async def first_job(self, market: str, offer: str) -> JobRef | None:
        """Return the first job of an offer; None if there is no such offer."""


class Deadlines(Protocol):
    """Due entries, and the transitions that a sweeper runs for them."""

    async def due(self, market: str, limit: int) -> Sequence[DueEntry]:
        """Return overdue entries. Each is postponed by two seconds and never removed here."""

    async def lapse(self, entry: DueEntry) -> tuple[Outcome | None, int, Effects]:
        """End an offer that was not acknowledged or answered in time.

        Returns:
            The outcome, None if nothing is overdue; by how many milliseconds it was; the effects.
        """

    async def offer_more(self, entry: DueEntry) -> Offered:
        """Offer the job of a staggered round to the next driver, at the same attempt.

        The first accept ends the round. Verdicts: ``early`` (its time has not come), ``nobody``
        (none of its drivers may be offered the job now), ``gone`` (the round is over, or complete).
        """

    async def expire(self, ref: JobRef, reason: str, max_attempts: int) -> Effects | None:
        """End a queued job that is past its time or its last attempt; None if it is neither."""

    async def queue(self, ref: JobRef) -> Effects:
        """Move a scheduled job whose time has come into the queue."""

    async def next_opening(
        self, ref: JobRef, attempt: int, *, was: Need, need: Need, release_ms: int
    ) -> Effects | None:
        """Schedule a job for the next opening of its mall.

        Args:
            ref: The job.
            attempt: Its attempt.
            was: Its need as it was read. If it has changed since, nothing is written.
            need: Its need at the next opening.
            release_ms: When it begins to look for a driver.

        Returns:
            None if the job has changed since it was read.
        """

    async def retry_later(self, ref: JobRef, attempt: int, at_ms: int) -> Effects:
        """Postpone the next round of a queued job to ``at_ms`` at the latest."""

    async def silence(self, entry: DueEntry, is_around: Around = nowhere) -> Effects:
        """Handle a holder who may have gone silent: requeue, alert, or check again later.

        ``is_around``: whether a point is at the job's mall or just outside of it, where a holder
        may be silent for longer.
        """

    async def risks_due(self, market: str, limit: int) -> Sequence[str]:
        """Return open jobs whose risk may have changed, those that wait longest first."""

    async def look_at_risk(self, job: str) -> Risk | None:
        """Determine the risk of a job anew; return it if it has changed."""

    async def driver_due(self, market: str, driver: str) -> Effects:
        """Apply a driver's own limits: stale position, cool-down, end of block or wish."""

    async def forget(self, market: str) -> int:
        """Delete at most 256 items whose retention time is over; return how many."""


class Transfers(Protocol):
    """Parcels on board that go from one driver to another."""

    async def begin(self, market: str, plan: TransferPlan) -> Effects | None:
        """Pause the first driver, queue its jobs that are not on board, and make the transfer.

        Returns:
            None if the driver's jobs have changed since they were read.

        Raises:
            NoSuchDriver: The market has no such driver.
            DriverUnavailable: The second driver cannot take them now.
            TransferOpen: One of the jobs is part of another transfer.
        """

    async def take_over(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        *,
        at_ms: int | None,
        proof: Proof | None,
        jobs: Sequence[str] | None,
    ) -> Answered:
        """Note that the second driver has the parcels (``jobs``, None: all) and knows the code.

        ``jobs`` of the answer: those that it has got.

        Raises:
            Refused: ``not_yours``, ``stale_attempt``, ``wrong_state``, ``proof_needed``,
            ``wrong_code``, or ``bad_field`` (it does not carry one of the jobs).
        """

    async def settle(self, entry: DueEntry) -> Effects:
        """End a transfer that carries nothing any more; tell the first driver what has changed."""


class Leases(Protocol):
    """The heartbeats of nodes, and the drivers of nodes that have died."""

    async def beat(self, market: str, node: str) -> Beat:
        """Renew this node's lease."""

    async def reap(self, market: str, node: str, limit: int) -> tuple[int, Effects]:
        """Take up to ``limit`` drivers of a dead node out of matching; return how many."""

    async def leave(self, market: str, node: str) -> bool:
        """Give up this node's lease; False while it still holds drivers."""


class PushStream(Protocol):
    """The pushes of all nodes, in the order of their transitions."""

    async def head(self, market: str) -> str:
        """Return the end of a market's push stream."""

    async def read(self, cursors: Mapping[str, str], block_ms: int) -> Sequence[PushEntry]:
        """Return what follows the cursor of each market, in order; wait up to ``block_ms``."""


class EventLog(Protocol):
    """What has happened in each market, on all nodes, in order; kept for a day."""

    async def ends(self, market: str) -> tuple[Place, Place] | None:
        """Return the places of the oldest event that is kept and of the newest; None: none is."""

    async def read(self, market: str, after: Place, limit: int) -> Sequence[MarketEvent]:
        """Return at most ``limit`` events after a place, oldest first."""

    async def tail(self, after: Mapping[str, Place], block_ms: int) -> Sequence[MarketEvent]:
        """Return what follows the place of each market, in order; wait up to ``block_ms``.

        One caller at a time: the calls share a connection.
        """


class Register(Protocol):
    """The operators' register of drivers, and the names by which order services see drivers."""

    async def put(
        self,
        market: str,
        driver: str,
        profile: DriverProfile | None,
        *,
        suspended: bool,
        actor: str,
    ) -> tuple[RegisteredDriver, Effects]:
        """Replace a driver's entry; None erases it. A live offer must be withdrawn separately.

        The entry outlives the driver's record. The driver's vehicle follows at once, also while it
        is connected.
        """

    async def read(self, market: str, driver: str) -> RegisteredDriver:
        """Return one driver, also one that is registered and has never said hello.

        Raises:
            NoSuchDriver: The market knows no such driver.
        """

    async def aliases(
        self, market: str, service: str, names: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return the names by which a service sees drivers, by their ids.

        Args:
            market: The drivers' market.
            service: The order service.
            names: A random name for each driver. It is stored and kept if neither the register nor
                the driver's token gives an alias and the service has not seen the driver yet.
        """


class Storage(Protocol):
    """The ports of one storage. Every coroutine of theirs may raise :class:`StoreUnavailable`."""

    @property
    def drivers(self) -> Drivers:
        """The drivers."""
        ...

    @property
    def register(self) -> Register:
        """The register of drivers."""
        ...

    @property
    def jobs(self) -> Jobs:
        """The jobs."""
        ...

    @property
    def shops(self) -> Shops:
        """The counters of the shops."""
        ...

    @property
    def returns(self) -> Returns:
        """The door and the way back."""
        ...

    @property
    def offers(self) -> Offers:
        """The offers."""
        ...

    @property
    def deadlines(self) -> Deadlines:
        """The due entries."""
        ...

    @property
    def transfers(self) -> Transfers:
        """The transfers."""
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
    def event_log(self) -> EventLog:
        """The events of the markets."""
        ...

    @property
    def down_since(self) -> float | None:
        """Since when the storage cannot be reached (seconds of the event loop), or None."""

    @property
    def outage(self) -> str | None:
        """Why the storage cannot be used now: it is away, or refuses all writes; or None."""

    @property
    def warnings(self) -> Sequence[str]:
        """What is wrong with the configuration of the server, though it can be used."""

    def now_ms(self) -> int:
        """The storage's clock: its last known value plus the time since. For display only."""


class TravelMatrixSource(Protocol):
    """A source of travel times that is asked for a matrix before a ranking."""

    @property
    def waits(self) -> bool:
        """Whether it answers over a network. If not, its answer costs no wait."""
        ...

    async def fetch(self, wanted: Sequence[MatrixRequest], at_ms: int) -> TravelTime:
        """Return the travel times of a ranking at a moment (epoch ms).

        Keeps the market's time budget and never raises: for what the source does not answer, the
        default is used and counted.
        """
        ...


class PushSink(Protocol):
    """Delivers pushes to the sockets of this node."""

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        """Deliver at once the pushes that are next in order. The relay brings the rest."""
