"""Clients of an order service: `OrderClient` with asyncio and `OrderClientSync` without.

    with OrderClientSync("https://engine.example", token) as orders:
        job = orders.submit(JobRequest(pickup=Pickup("chandler-fashion-center", stores), …))
        job = orders.wait(job.id, for_end=True, timeout_s=3600)

Calls that are safe to repeat are repeated when no answer came, when something other than the engine
answered (an ingress during a deploy), and on 429, 502, 503 and 504, with full jitter and not before
``Retry-After``, for a minute at most; a submission keeps its idempotency key, so all its repeats
make one job. Answers are structs of `mallard_protocol.resources`. Every call raises
`ApiProblem` for a refusal, `Unreachable` if no engine answered and `BadAnswer` if something else
did; all are `CallFailed`. The error of a submission has its ``idempotency_key``. If it is unknown
whether a submission had an effect, repeat it with that key, never without.
"""

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Literal, Unpack

from msgspec import UNSET

from mallard_client.http.event_stream import event_params
from mallard_client.http.request import Tagged
from mallard_client.http.transport import AsyncShell, SyncShell
from mallard_client.orders.requests import (
    JobBody,
    JobFilter,
    OrderCalls,
    PatchBody,
    job_events_path,
)
from mallard_protocol.changes import BatchResult, CancelResult, CustomerErased
from mallard_protocol.codes import AnswerAction
from mallard_protocol.events import Event
from mallard_protocol.resources import (
    AnswerRequest,
    DropoffRequest,
    Explanation,
    Job,
    JobList,
    JobProof,
    Market,
    Quote,
    RedeliverRequest,
    Tracking,
)

__all__ = ["AnswerName", "JobFilter", "OrderClient", "OrderClientSync"]

AnswerName = Literal["retry", "leave", "return", "wait", "instructions"]


class OrderClient(AsyncShell):
    """An order service's client; an async context manager. `token` is of the role ``orders``."""

    @cached_property
    def _calls(self) -> OrderCalls:
        return OrderCalls(self._caller, time.monotonic)

    async def submit(
        self, job: JobBody, *, key: str | None = None, wait_s: int | None = None
    ) -> Job:
        """Submit a job; `key` missing: one is made. `wait_s` (≤ 20) waits for a driver.

        Name a key of your own where your program may end, or cancel this call, before it returns.
        """
        return await self._run(self._calls.submit(job, key, wait_s))

    async def get(self, job: str) -> Job:
        """Return the job as it is now."""
        return await self._run(self._calls.get(job))

    async def get_tagged(self, job: str) -> Tagged[Job]:
        """Return the job as it is now, with its entity tag: the condition of a `change`."""
        return await self._run(self._calls.get_tagged(job))

    async def change(self, job: str, patch: PatchBody, *, if_match: str | None = None) -> Job:
        """Change an order, all of the patch or nothing; None removes an optional field.

        Raises `ApiProblem` with the code ``too_late`` and the pointers of fields that are fixed by
        now. With `if_match`, the tag of `get_tagged`, it is refused (``precondition_failed``) if
        anything but the estimates has changed since.
        """
        return await self._run(self._calls.change(job, patch, if_match))

    async def submit_many(self, jobs: Mapping[str, JobBody]) -> tuple[BatchResult, ...]:
        """Submit up to 100 jobs by their idempotency keys; each has its own result, in order.

        Repeat those whose problem is temporary (429, 503) with the same keys.
        """
        return await self._run(self._calls.submit_many(jobs))

    async def cancel_many(
        self, jobs: Sequence[str], reason: str = "cancelled", note: str | None = None
    ) -> tuple[CancelResult, ...]:
        """Cancel up to 100 jobs; each has its own result, in order."""
        return await self._run(self._calls.cancel_many(jobs, reason, note))

    async def erase_customer(self, ref: str) -> CustomerErased:
        """Remove what is known of a customer (`dropoff.customer_ref`) from its ended jobs.

        Its open jobs are named in the answer and keep their data: call again once they have ended.
        """
        return await self._run(self._calls.erase_customer(ref))

    async def wait(self, job: str, *, for_end: bool = False, timeout_s: float = 60.0) -> Job:
        """Return the job once it is assigned or has ended, or after `timeout_s`.

        With `for_end`, only the end counts. The wait continues while the engine is unreachable.
        """
        return await self._run(self._calls.wait(job, for_end=for_end, timeout_s=timeout_s))

    async def page(self, *, cursor: str | None = None, **filters: Unpack[JobFilter]) -> JobList:
        """Return a page of jobs, newest first."""
        return await self._run(self._calls.page(filters, cursor))

    def jobs(self, **filters: Unpack[JobFilter]) -> AsyncIterator[Job]:
        """Iterate over all jobs, newest first, page by page; filters as in `page`."""
        return self._all(lambda cursor: self._calls.page(filters, cursor))

    async def cancel(self, job: str, reason: str = "cancelled", note: str | None = None) -> Job:
        """Cancel a job; cancelling again changes nothing.

        One on board comes back: it has ``cancel_requested``, is ``returning``, and ends as
        ``returned``.
        """
        return await self._run(self._calls.cancel(job, reason, note))

    async def answer(self, job: str, problem: str, action: AnswerName, text: str = "") -> Job:
        """Answer a problem of the job's driver; the same answer again changes nothing."""
        request = AnswerRequest(AnswerAction(action), text)
        return await self._run(self._calls.answer(job, problem, request))

    async def redeliver(
        self, job: str, deadline: datetime, dropoff: DropoffRequest | None = None
    ) -> Job:
        """Deliver the parcels of a returned job after all; again gives the same job."""
        request = RedeliverRequest(deadline, dropoff or UNSET)
        return await self._run(self._calls.redeliver(job, request))

    async def ready(self, job: str, store: str, ready_at: datetime) -> Job:
        """Set when a store's parcels are actually ready."""
        return await self._run(self._calls.ready(job, store, ready_at))

    async def quote(self, job: JobBody) -> Quote:
        """Return whether a job would find a driver now; stores nothing."""
        return await self._run(self._calls.quote(job))

    async def tracking(self, job: str) -> Tracking:
        """Return where a job is, as its customer sees it."""
        return await self._run(self._calls.tracking(job))

    async def end_tracking(self, job: str) -> None:
        """End the tracking of a job by its ``tracking_url``, for good."""
        await self._run(self._calls.end_tracking(job))

    async def track(self, token: str) -> Tracking:
        """Return where the job of a ``tracking_url``, or of its token, is."""
        return await self._run(self._calls.track(token))

    async def proofs(self, job: str) -> tuple[JobProof, ...]:
        """Return the proofs of a job; the links to their images hold for 15 min."""
        return await self._run(self._calls.proofs(job))

    async def explain(self, job: str) -> Explanation:
        """Explain the choice of driver: the last round and all drivers who were asked."""
        return await self._run(self._calls.explain(job))

    async def markets(self) -> tuple[Market, ...]:
        """Return all markets with their malls and stores."""
        return await self._run(self._calls.markets())

    async def market(self, market: str) -> Market:
        """One market."""
        return await self._run(self._calls.market(market))

    def events(
        self, market: str, *, types: Sequence[str] | None = None, after: str | None = None
    ) -> AsyncIterator[Event]:
        """Iterate over what happens in a market, from now on or after the event with that id.

        It never ends by itself, and resumes when a stream ends. Keep the id of the last event that
        you have handled: an event comes at least once, so handle each ``sequence`` once. Raises
        `ApiProblem` with ``events_trimmed`` and ``oldest`` if events after that one are gone.
        """
        return self._follow("/v1/events", event_params(market, types), after)

    def job_events(self, job: str, *, after: str | None = None) -> AsyncIterator[Event]:
        """Iterate over the events of a job, from its first one on, until it has ended."""
        return self._follow(job_events_path(job), {}, after, of_job=True)


class OrderClientSync(SyncShell):
    """`OrderClient` without asyncio: the same calls, a plain context manager."""

    @cached_property
    def _calls(self) -> OrderCalls:
        return OrderCalls(self._caller, time.monotonic)

    def submit(self, job: JobBody, *, key: str | None = None, wait_s: int | None = None) -> Job:
        """As `OrderClient.submit`."""
        return self._run(self._calls.submit(job, key, wait_s))

    def get(self, job: str) -> Job:
        """As `OrderClient.get`."""
        return self._run(self._calls.get(job))

    def get_tagged(self, job: str) -> Tagged[Job]:
        """As `OrderClient.get_tagged`."""
        return self._run(self._calls.get_tagged(job))

    def change(self, job: str, patch: PatchBody, *, if_match: str | None = None) -> Job:
        """As `OrderClient.change`."""
        return self._run(self._calls.change(job, patch, if_match))

    def submit_many(self, jobs: Mapping[str, JobBody]) -> tuple[BatchResult, ...]:
        """As `OrderClient.submit_many`."""
        return self._run(self._calls.submit_many(jobs))

    def cancel_many(
        self, jobs: Sequence[str], reason: str = "cancelled", note: str | None = None
    ) -> tuple[CancelResult, ...]:
        """As `OrderClient.cancel_many`."""
        return self._run(self._calls.cancel_many(jobs, reason, note))

    def erase_customer(self, ref: str) -> CustomerErased:
        """As `OrderClient.erase_customer`."""
        return self._run(self._calls.erase_customer(ref))

    def wait(self, job: str, *, for_end: bool = False, timeout_s: float = 60.0) -> Job:
        """As `OrderClient.wait`."""
        return self._run(self._calls.wait(job, for_end=for_end, timeout_s=timeout_s))

    def page(self, *, cursor: str | None = None, **filters: Unpack[JobFilter]) -> JobList:
        """As `OrderClient.page`."""
        return self._run(self._calls.page(filters, cursor))

    def jobs(self, **filters: Unpack[JobFilter]) -> Iterator[Job]:
        """As `OrderClient.jobs`."""
        return self._all(lambda cursor: self._calls.page(filters, cursor))

    def cancel(self, job: str, reason: str = "cancelled", note: str | None = None) -> Job:
        """As `OrderClient.cancel`."""
        return self._run(self._calls.cancel(job, reason, note))

    def answer(self, job: str, problem: str, action: AnswerName, text: str = "") -> Job:
        """As `OrderClient.answer`."""
        request = AnswerRequest(AnswerAction(action), text)
        return self._run(self._calls.answer(job, problem, request))

    def redeliver(self, job: str, deadline: datetime, dropoff: DropoffRequest | None = None) -> Job:
        """As `OrderClient.redeliver`."""
        request = RedeliverRequest(deadline, dropoff or UNSET)
        return self._run(self._calls.redeliver(job, request))

    def ready(self, job: str, store: str, ready_at: datetime) -> Job:
        """As `OrderClient.ready`."""
        return self._run(self._calls.ready(job, store, ready_at))

    def quote(self, job: JobBody) -> Quote:
        """As `OrderClient.quote`."""
        return self._run(self._calls.quote(job))

    def tracking(self, job: str) -> Tracking:
        """As `OrderClient.tracking`."""
        return self._run(self._calls.tracking(job))

    def end_tracking(self, job: str) -> None:
        """As `OrderClient.end_tracking`."""
        self._run(self._calls.end_tracking(job))

    def track(self, token: str) -> Tracking:
        """As `OrderClient.track`."""
        return self._run(self._calls.track(token))

    def proofs(self, job: str) -> tuple[JobProof, ...]:
        """As `OrderClient.proofs`."""
        return self._run(self._calls.proofs(job))

    def explain(self, job: str) -> Explanation:
        """As `OrderClient.explain`."""
        return self._run(self._calls.explain(job))

    def markets(self) -> tuple[Market, ...]:
        """As `OrderClient.markets`."""
        return self._run(self._calls.markets())

    def market(self, market: str) -> Market:
        """As `OrderClient.market`."""
        return self._run(self._calls.market(market))

    def events(
        self, market: str, *, types: Sequence[str] | None = None, after: str | None = None
    ) -> Iterator[Event]:
        """As `OrderClient.events`."""
        return self._follow("/v1/events", event_params(market, types), after)

    def job_events(self, job: str, *, after: str | None = None) -> Iterator[Event]:
        """As `OrderClient.job_events`."""
        return self._follow(job_events_path(job), {}, after, of_job=True)
