"""The port of jobs: submission, queries, progress."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mallard_engine.core.model import Job, Need, ReturnPlan, StoreHold, Submission
from mallard_engine.core.order_change import OrderChange
from mallard_engine.ports.drivers import Answered
from mallard_engine.ports.effects import Effects
from mallard_protocol.codes import CancelReason
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS
from mallard_protocol.lifecycle import JobState, Outcome, ShopState, Step
from mallard_protocol.messages import Proof


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one service may have in one market; 0: no limit.

    ``open_jobs``: jobs that have not ended. ``stored_bytes``: bytes of the jobs submitted within
    the time for which ended jobs are kept.
    """

    open_jobs: int = 0
    stored_bytes: int = 0


NO_QUOTAS = Quotas()


@dataclass(frozen=True, slots=True)
class JobRef:
    """A job and the mall in whose queue it waits."""

    job: str
    mall: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """The job of a submission. ``replayed``: an earlier, equal submission created it."""

    job: Job
    replayed: bool
    effects: Effects


class ConfirmedOrder(NamedTuple):
    """An order that a node has confirmed to its service."""

    job: str
    service: str
    external_id: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The expected pickup and drop-off (epoch ms) of a job that is held under ``attempt``."""

    job: str
    attempt: int
    eta_pickup_ms: int
    eta_dropoff_ms: int


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
            limit: The most jobs to return.
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

    async def report_lost(self, market: str, orders: Sequence[ConfirmedOrder]) -> Collection[str]:
        """Raise an alert for each of these orders that the storage no longer has; return them.

        The caller does not pass an order again that was returned: each gets one alert.
        """
        ...

    async def tracked(self, token: str) -> Job | None:
        """Return the job that a customer's link is for; None if there is none."""
        ...

    async def end_tracking(self, job: str) -> None:
        """End the tracking of a job by its customer's link, for good.

        Raises:
            NoSuchJob: there is no such job.
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

        Fenced: a job that the driver no longer holds under that attempt keeps its times.
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


class Changes(Protocol):
    """Changes of stored orders."""

    async def change(
        self,
        ref: JobRef,
        was: Job,
        change: OrderChange,
        *,
        actor: str,
        etas: Sequence[Stop] = (),
        unless_touched: bool = False,
    ) -> Effects | None:
        """Change an order: all of it or nothing. A live offer is withdrawn; a holder gets a push.

        Args:
            ref: The job.
            was: The job as it was read. If its order has changed since, nothing is written.
            change: The new order.
            actor: Who changes it.
            etas: The times of all jobs of the holder, in their new order, if they change.
            unless_touched: Write nothing either if the job has changed in any other way since.

        Returns:
            None if nothing was written, as the job has changed or one of the fields is fixed by
            now: read it again.

        Raises:
            NoSuchJob: There is no such job.
        """

    async def of_customer(
        self, market: str, ref: str, *, service: str | None, limit: int
    ) -> Sequence[Job]:
        """Return jobs that name this customer and still have its data, oldest first.

        Args:
            market: The market.
            ref: The customer, as orders name it.
            service: Whose jobs; None: all services'.
            limit: The most jobs to return.
        """

    async def erase(
        self, was: Job, *, body: bytes, need: Need, ref: str, actor: str
    ) -> Effects | None:
        """Replace the order of an ended job by one without its customer, and delete its proofs.

        Args:
            was: The job as it was read.
            body: The order without the customer.
            need: The need without the exact position.
            ref: The customer, as the order named it.
            actor: Who asks for it.

        Returns:
            None if the job is open, gone, or has changed since.
        """
