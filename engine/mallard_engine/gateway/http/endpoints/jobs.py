"""Order services: submit, read and cancel jobs, report parcels ready, explain a match, quote."""

import asyncio
import secrets
from contextlib import closing
from typing import Final

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import (
    body_as,
    canonical_hash,
    decode_json_body,
    parse_json_body,
    without_nulls,
)
from mallard_engine.core.job_ids import new_job_id
from mallard_engine.core.model import Job
from mallard_engine.dispatch.rounds.speculative_offer import SpeculativeOffer
from mallard_engine.gateway.auth import Principal
from mallard_engine.gateway.http.driver_names import names_for
from mallard_engine.gateway.http.endpoints.job_access import (
    job_of,
    owner_of,
    ref_of,
    settled,
    shown,
    wait_of,
)
from mallard_engine.gateway.http.endpoints.job_list import JobList
from mallard_engine.gateway.http.keyed_semaphore import KeyedSemaphore
from mallard_engine.gateway.http.parameters import idempotency_key
from mallard_engine.gateway.http.problems import HttpProblem, invalid_fields
from mallard_engine.gateway.http.rate_limits import slot_of
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.http.views import (
    Namer,
    Numbered,
    explanation_view,
    held_view,
    job_hold_view,
    job_view,
    quote_view,
)
from mallard_engine.gateway.orders.complete_order import order_of
from mallard_engine.gateway.orders.intake import InvalidOrder, ValidOrder, read_order, submission_of
from mallard_engine.gateway.orders.ready_time import MAX_TRIES, change_ready
from mallard_engine.gateway.orders.redelivery import redeliver
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import epoch_ms
from mallard_engine.gateway.tracking import new_token
from mallard_engine.ports import StoreUnavailable, Submitted, WrongState
from mallard_protocol import resources
from mallard_protocol.codes import AnswerAction, CancelReason, ProblemCode
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import (
    AnswerRequest,
    CancelRequest,
    FieldError,
    JobRequest,
    ReadyRequest,
    RedeliverRequest,
)

# Orders of one mall that are checked and stored at a time, one to two milliseconds each. A higher
# limit hardly speeds up a flash sale and makes every other client of the node wait longer
# (docs/adr/0022).
_PER_MALL: Final = 4
_WAITING: Final = frozenset({JobState.SCHEDULED, JobState.QUEUED, JobState.OFFERED})
# Two flash sales at one mall. More orders would wait for seconds, each with its body in memory.
_MAX_WAITING_PER_MALL: Final = 1_024


class JobsApi:
    """Handlers that order services and operators may call."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._dispatcher = services.dispatcher
        self._per_mall = KeyedSemaphore(_PER_MALL, max_waiting=_MAX_WAITING_PER_MALL)
        self._list = JobList(services)

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {
            "submitJob": self.submit,
            "listJobs": self._list.page,
            "getJob": self.read,
            "cancelJob": self.cancel,
            "answerProblem": self.answer,
            "redeliverJob": self.redeliver,
            "markParcelsReady": self.ready,
            "explainJob": self.explain,
            "getQuote": self.quote,
        }

    async def submit(self, request: Request, principal: Principal) -> Response:
        """Store a job, or return the one that an earlier, equal request created."""
        now_ms = self._store.now_ms()
        key, wait_s = idempotency_key(request), wait_of(request)
        # A null means the same as a missing field, also for the idempotency key.
        value = without_nulls(parse_json_body(await read_body(request)), JobRequest)
        asked = body_as(value, JobRequest)
        if (outage := self._store.outage) is not None:
            raise StoreUnavailable(outage)  # before it waits for its mall's semaphore
        if slot := slot_of(request):
            slot.release()  # from here on the mall's semaphore limits the work
        async with self._per_mall.acquire(asked.pickup.mall):
            mall, level = asked.pickup.mall, asked.service_level or None
            with closing(self._dispatcher.orders.speculate(mall, level)) as early:
                # One loop iteration sends the speculative read; the store answers it meanwhile.
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
        names = await names_for(principal, self._store, job)
        return JsonResponse(job_view(job, names, public_url=self._services.public_url), headers)

    async def _submit(
        self,
        asked: JobRequest,
        early: SpeculativeOffer,
        *,
        service: str,
        key: str,
        body_hash: str,
        now_ms: int,
    ) -> Submitted:
        try:
            valid = self._read(asked, now_ms)
        except InvalidOrder as invalid:
            # A repeated request may have been valid the first time, before the mall closed.
            if invalid.market is not None:
                earlier = await self._store.jobs.submitted(invalid.market, service, key, body_hash)
                if earlier is not None:
                    return earlier
            raise
        mall = valid.mall
        return await self._dispatcher.orders.submit(
            submission_of(
                valid,
                job=new_job_id(mall.market, now_ms, secrets.randbits(80)),
                service=service,
                key=key,
                body_hash=body_hash,
                release_ms=self._dispatcher.orders.release_ms(mall.id, valid.need, now_ms),
                now_ms=now_ms,
                handover_key=secrets.token_hex(8),
                tracking=new_token(),
            ),
            early,
        )

    async def read(self, request: Request, principal: Principal) -> Response:
        """Return the job, after up to `wait_s` seconds if the request asks to wait."""
        wait_s = wait_of(request)
        job = await job_of(request, principal, self._store)
        job = await settled(job, request, self._store, wait_s, self._services.leaving)
        return await shown(job, principal, self._services, await self._held(job))

    async def cancel(self, request: Request, principal: Principal) -> Response:
        """Cancel a job; one on board comes back: 202. The body may be empty."""
        asked = decode_json_body(await read_body(request) or b"{}", CancelRequest)
        job = await job_of(request, principal, self._store)
        code, note = _cancel_reason(asked)
        try:
            await self._dispatcher.orders.cancel(
                ref_of(job), principal.sub, asked.reason, code=code, note=note, job=job
            )
        except WrongState as refused:
            raise HttpProblem(
                ProblemCode.NOT_CANCELLABLE, f"the job is {refused.state}"
            ) from refused
        job = await self._store.jobs.get(job.id)
        response = await shown(job, principal, self._services)
        if not job.terminal:
            response.status_code = 202
        return response

    async def answer(self, request: Request, principal: Principal) -> Response:
        """Answer a problem of a job."""
        asked = decode_json_body(await read_body(request), AnswerRequest)
        if asked.action is AnswerAction.INSTRUCTIONS and not asked.text:
            raise invalid_fields(FieldError("/text", "instructions need a text"))
        job = await job_of(request, principal, self._store)
        if asked.action is AnswerAction.LEAVE and order_of(job).needs_person:
            why = "leave: a PIN or a check needs somebody at the door"
            raise invalid_fields(FieldError("/action", why))
        await self._dispatcher.orders.answer(
            job,
            request.path_params["problem"],
            action=asked.action,
            text=asked.text,
            actor=principal.sub,
        )
        return await self._current(job, principal)

    async def redeliver(self, request: Request, principal: Principal) -> Response:
        """Deliver the parcels of a returned job, or return the job that does so already."""
        asked = decode_json_body(await read_body(request), RedeliverRequest)
        job = await job_of(request, principal, self._store)
        submitted = await redeliver(self._services, job, asked)
        headers = {"Location": f"/v1/jobs/{submitted.job.id}"}
        if submitted.replayed:
            headers["Idempotent-Replayed"] = "true"
        names = await names_for(principal, self._store, submitted.job)
        return JsonResponse(
            job_view(submitted.job, names, public_url=self._services.public_url), headers
        )

    async def ready(self, request: Request, principal: Principal) -> Response:
        """Change the ready time of a store's parcels."""
        asked = decode_json_body(await read_body(request), ReadyRequest)
        for _ in range(MAX_TRIES):
            job = await job_of(request, principal, self._store)
            if await change_ready(self._services, job, asked.store, asked.ready_at, principal.sub):
                # The shop's report overrides that of a driver who found the parcels not ready.
                until_ms = epoch_ms(asked.ready_at)
                await self._dispatcher.orders.lift_hold(job.mall, asked.store, until_ms)
                return await self._current(job, principal)
        raise HttpProblem(ProblemCode.STORE_UNAVAILABLE, "the job is being changed: try again")

    async def explain(self, request: Request, principal: Principal) -> Response:
        """Explain the match: the job's last round and every driver who got an offer."""
        job = await job_of(request, principal, self._store)
        record = await self._store.offers.last_round(job.id)
        held = await self._held(job)
        return JsonResponse(explanation_view(job, record, _namer(principal), held))

    async def quote(self, request: Request, principal: Principal) -> Response:
        """Report whether a job would find a driver now. Stores nothing."""
        asked = decode_json_body(await read_body(request), JobRequest)
        valid = self._read(asked, self._store.now_ms())
        record = await self._dispatcher.orders.quote(valid.mall.id, valid.need)
        market = valid.mall.market
        holds, now_ms = await self._store.jobs.holds(market), self._store.now_ms()
        held = held_view(valid.need, valid.mall.id, holds, now_ms)
        return JsonResponse(quote_view(record, _namer(principal), held))

    def _read(self, asked: JobRequest, now_ms: int) -> ValidOrder:
        """Check an order. Raises `InvalidOrder`."""
        orders = self._dispatcher.orders
        return read_order(asked, self._services.places, orders.preset, now_ms)

    async def _held(self, job: Job) -> resources.Held | None:
        """Return the store hold that keeps a waiting job from being offered."""
        if job.state not in _WAITING:
            return None
        if job.hold is not None:
            return job_hold_view(job.hold)
        holds = await self._store.jobs.holds(job.market)
        return held_view(job.need, job.mall, holds, self._store.now_ms())

    async def _current(self, job: Job, principal: Principal) -> Response:
        return await shown(await self._store.jobs.get(job.id), principal, self._services)


def _cancel_reason(asked: CancelRequest) -> tuple[CancelReason, str]:
    """Return the reason and the note. A text that is no reason is the note of `other`."""
    note = "" if asked.note is UNSET else asked.note
    if asked.reason in set(CancelReason):
        return CancelReason(asked.reason), note
    return CancelReason.OTHER, note or asked.reason


def _namer(principal: Principal) -> Namer:
    """Operators see drivers by name, order services by number."""
    return str if owner_of(principal) is None else Numbered()
