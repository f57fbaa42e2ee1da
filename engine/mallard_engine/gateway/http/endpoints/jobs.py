"""What order services do with jobs: submit, read, cancel, tell of readiness, ask why."""

import asyncio
import secrets
from contextlib import closing
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mallard_engine.core.job_ids import new_job_id
from mallard_engine.core.model import Job
from mallard_engine.dispatch.rounds.speculative_offer import EarlyLook
from mallard_engine.gateway.auth import Principal
from mallard_engine.gateway.http.endpoints.job_access import (
    job_of,
    owner_of,
    ref_of,
    settled,
    wait_of,
)
from mallard_engine.gateway.http.endpoints.job_list import JobList
from mallard_engine.gateway.http.keyed_semaphore import KeyedSemaphore
from mallard_engine.gateway.http.parameters import idempotency_key
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.http.rate_limits import slot_of
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import ORDERS, Method, route
from mallard_engine.gateway.http.views import (
    Namer,
    Numbered,
    explanation_view,
    held_view,
    job_view,
    quote_view,
)
from mallard_engine.gateway.orders.intake import InvalidOrder, read_order, submission_of
from mallard_engine.gateway.orders.ready_time import MAX_TRIES, change_ready
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import epoch_ms
from mallard_engine.ports import StoreUnavailable, Submitted, WrongState
from mallard_protocol import resources
from mallard_protocol.bodies import (
    body_as,
    canonical_hash,
    decode_json_body,
    parse_json_body,
    without_nulls,
)
from mallard_protocol.codes import ProblemCode
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import CancelRequest, JobRequest, ReadyRequest

# So many orders of one mall are checked and stored at a time, a millisecond or two each: more would
# save a sale little and cost whoever else is on the node a longer turn of the loop (docs/adr/0123).
_MOST_OF_A_MALL: Final = 4
_WAITING: Final = frozenset({JobState.SCHEDULED, JobState.QUEUED, JobState.OFFERED})
# Two flash sales at one mall at once; more would wait for seconds, each with its body in memory.
_MOST_WAITING: Final = 1_024


class JobsApi:
    """The endpoints under ``/v1/jobs`` and ``/v1/quotes``."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._dispatcher = services.dispatcher
        self._per_mall = KeyedSemaphore(_MOST_OF_A_MALL, max_waiting=_MOST_WAITING)

    def routes(self) -> list[Route]:
        """The routes of this part."""
        tokens = self._services.tokens
        listing = JobList(self._services)
        return [
            route(
                "/v1/jobs",
                tokens,
                get=Method(listing.page, ORDERS),
                post=Method(self.submit, ORDERS),
            ),
            route("/v1/jobs/{id}", tokens, get=Method(self.read, ORDERS)),
            route("/v1/jobs/{id}/cancel", tokens, post=Method(self.cancel, ORDERS)),
            route("/v1/jobs/{id}/ready", tokens, post=Method(self.ready, ORDERS)),
            route("/v1/jobs/{id}/explain", tokens, get=Method(self.explain, ORDERS)),
            route("/v1/quotes", tokens, post=Method(self.quote, ORDERS)),
        ]

    async def submit(self, request: Request, principal: Principal) -> Response:
        """Store a job, or find the one that an earlier, equal request made."""
        now_ms = self._store.now_ms()
        key, wait_s = idempotency_key(request), wait_of(request)
        # An order with a null is the same order as one without the field, to its key as well.
        value = without_nulls(parse_json_body(await read_body(request)), JobRequest)
        asked = body_as(value, JobRequest)
        if (outage := self._store.outage) is not None:
            raise StoreUnavailable(outage)  # before the queue of its mall: none waits in vain
        if slot := slot_of(request):
            slot.release()  # from here on the mall's semaphore limits the work
        async with self._per_mall.acquire(asked.pickup.mall):
            with closing(self._dispatcher.look_early(asked.pickup.mall)) as early:
                # One turn of the loop, in which the look leaves: the store answers it meanwhile.
                await asyncio.sleep(0)
                submitted = await self._submit(
                    asked,
                    early,
                    service=principal.sub,
                    key=key,
                    body_hash=canonical_hash(value),
                    now_ms=now_ms,
                )
        job = await settled(submitted.job, request, self._store, wait_s, self._services.leaving)
        headers = {"Location": f"/v1/jobs/{job.id}"}
        if submitted.replayed:
            headers["Idempotent-Replayed"] = "true"
        return JsonResponse(job_view(job), 201, headers)

    async def _submit(
        self,
        asked: JobRequest,
        early: EarlyLook,
        *,
        service: str,
        key: str,
        body_hash: str,
        now_ms: int,
    ) -> Submitted:
        try:
            order = read_order(asked, self._services.places, now_ms)
        except InvalidOrder as invalid:
            # It may have been good when it first came, before the mall closed or a time passed.
            if invalid.market is not None:
                earlier = await self._store.jobs.submitted(invalid.market, service, key, body_hash)
                if earlier is not None:
                    return earlier
            raise
        mall = order.mall
        return await self._dispatcher.submit(
            submission_of(
                order,
                job=new_job_id(mall.market, now_ms, secrets.randbits(80)),
                service=service,
                key=key,
                body_hash=body_hash,
                release_ms=self._dispatcher.release_ms(mall.id, order.need, now_ms),
                now_ms=now_ms,
            ),
            early,
        )

    async def read(self, request: Request, principal: Principal) -> Response:
        """The job; after a wait, if asked to."""
        wait_s = wait_of(request)
        job = await job_of(request, principal, self._store)
        job = await settled(job, request, self._store, wait_s, self._services.leaving)
        return JsonResponse(job_view(job, await self._held(job)))

    async def cancel(self, request: Request, principal: Principal) -> Response:
        """Cancel a job that is not on board yet. An empty body will do."""
        asked = decode_json_body(await read_body(request) or b"{}", CancelRequest)
        job = await job_of(request, principal, self._store)
        try:
            await self._dispatcher.cancel(ref_of(job), principal.sub, asked.reason)
        except WrongState as refused:
            raise HttpProblem(
                ProblemCode.NOT_CANCELLABLE, f"the job is {refused.state}"
            ) from refused
        return await self._as_it_is(job)

    async def ready(self, request: Request, principal: Principal) -> Response:
        """The parcels of a store are ready at another time."""
        asked = decode_json_body(await read_body(request), ReadyRequest)
        for _ in range(MAX_TRIES):
            job = await job_of(request, principal, self._store)
            if await change_ready(self._services, job, asked.store, asked.ready_at):
                # The shop knows better than the driver who found it not ready.
                until_ms = epoch_ms(asked.ready_at)
                await self._dispatcher.lift_hold(job.mall, asked.store, until_ms)
                return await self._as_it_is(job)
        raise HttpProblem(ProblemCode.STORE_UNAVAILABLE, "the job is being changed: try again")

    async def explain(self, request: Request, principal: Principal) -> Response:
        """Why this driver: the job's last round and everyone who was asked."""
        job = await job_of(request, principal, self._store)
        record = await self._store.offers.last_round(job.id)
        held = await self._held(job)
        return JsonResponse(explanation_view(job, record, _namer(principal), held))

    async def quote(self, request: Request, principal: Principal) -> Response:
        """Whether a job would find a driver now. Stores nothing."""
        asked = decode_json_body(await read_body(request), JobRequest)
        order = read_order(asked, self._services.places, self._store.now_ms())
        record = await self._dispatcher.quote(order.mall.id, order.need)
        market = order.mall.market
        holds, now_ms = await self._store.jobs.holds(market), self._store.now_ms()
        held = held_view(order.need, order.mall.id, holds, now_ms)
        return JsonResponse(quote_view(record, _namer(principal), held))

    async def _held(self, job: Job) -> resources.Held | None:
        """What keeps a waiting job from being offered."""
        if job.state not in _WAITING:
            return None
        holds = await self._store.jobs.holds(job.market)
        return held_view(job.need, job.mall, holds, self._store.now_ms())

    async def _as_it_is(self, job: Job) -> Response:
        return JsonResponse(job_view(await self._store.jobs.get(job.id)))


def _namer(principal: Principal) -> Namer:
    """Operators see drivers by name."""
    return str if owner_of(principal) is None else Numbered()
