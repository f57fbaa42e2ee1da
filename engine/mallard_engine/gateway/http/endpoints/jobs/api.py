"""Order services: submit, read, change and end jobs, explain a match, quote, erase a customer."""

import secrets
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import (
    decode_json_body,
    parse_json_body,
    patch_as,
)
from mallard_engine.core.model import Job
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.driver_names import names_for
from mallard_engine.gateway.http.endpoints.jobs.access import (
    job_of,
    owner_of,
    require_mall,
    settled,
    shown,
    view_of,
    wait_of,
)
from mallard_engine.gateway.http.endpoints.jobs.listing import JobList
from mallard_engine.gateway.http.entity_tags import check_if_match, has_condition, job_tag
from mallard_engine.gateway.http.parameters import idempotency_key, is_id
from mallard_engine.gateway.http.problems import HttpProblem, invalid_fields, not_found
from mallard_engine.gateway.http.rate_limits import slot_of
from mallard_engine.gateway.http.request_parsing import PATCH_TYPES, JsonResponse, read_body
from mallard_engine.gateway.http.routing import Handler
from mallard_engine.gateway.http.submissions import Submissions
from mallard_engine.gateway.http.views.jobs import (
    Namer,
    Numbered,
    explanation_view,
    held_view,
    job_hold_view,
    job_view,
    quote_view,
)
from mallard_engine.gateway.orders.change_order import change_order
from mallard_engine.gateway.orders.complete_order import order_of
from mallard_engine.gateway.orders.erasure import erase_customer
from mallard_engine.gateway.orders.ready_time import MAX_TRIES, change_ready
from mallard_engine.gateway.orders.redelivery import redeliver
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol import resources
from mallard_protocol.changes import CustomerErased, JobPatch
from mallard_protocol.codes import AnswerAction, ProblemCode
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import (
    AnswerRequest,
    CancelRequest,
    FieldError,
    JobRequest,
    ReadyRequest,
    RedeliverRequest,
)

# The job may be changed between reading and writing it: by rounds several times a second.
_MAX_CHANGES: Final = 10
_QUOTE_BYTES: Final = 12
_WAITING: Final = frozenset({JobState.SCHEDULED, JobState.QUEUED, JobState.OFFERED})


class JobsApi:
    """Handlers that order services and operators may call."""

    def __init__(self, services: Services, submissions: Submissions) -> None:
        self._services = services
        self._store = services.store
        self._dispatcher = services.dispatcher
        self._submissions = submissions
        self._list = JobList(services)

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {
            "submitJob": self.submit,
            "listJobs": self._list.page,
            "getJob": self.read,
            "changeJob": self.change,
            "cancelJob": self.cancel,
            "answerProblem": self.answer,
            "redeliverJob": self.redeliver,
            "markParcelsReady": self.ready,
            "explainJob": self.explain,
            "getQuote": self.quote,
            "eraseCustomer": self.erase,
        }

    async def submit(self, request: Request, principal: Principal) -> Response:
        """Store a job, or return the one that an earlier, equal request created."""
        key, wait_s = idempotency_key(request), wait_of(request)
        value = parse_json_body(await read_body(request))
        if slot := slot_of(request):
            slot.release()  # from here on the mall's semaphore limits the work
        submitted = await self._submissions.submit(value, principal, key=key)
        job = await settled(submitted.job, request, self._store, wait_s, self._services.leaving)
        headers = {"Location": f"/v1/jobs/{job.id}"}
        if submitted.replayed:
            headers["Idempotent-Replayed"] = "true"
        names = await names_for(principal, self._store, job)
        return JsonResponse(job_view(job, names, public_url=self._services.public_url), headers)

    async def read(self, request: Request, principal: Principal) -> Response:
        """Return the job, after up to `wait_s` seconds if the request asks to wait."""
        wait_s = wait_of(request)
        job = await job_of(request, principal, self._store)
        job = await settled(job, request, self._store, wait_s, self._services.leaving)
        return await shown(request, job, principal, self._services)

    async def change(self, request: Request, principal: Principal) -> Response:
        """Apply a patch to an order, all of it or nothing."""
        patch = patch_as(parse_json_body(await read_body(request, PATCH_TYPES)), JobPatch)
        is_conditional = has_condition(request)
        for _ in range(_MAX_CHANGES):
            job = await job_of(request, principal, self._store)
            if is_conditional:
                check_if_match(request, job_tag(await view_of(job, principal, self._services)))
            if await change_order(
                self._services, job, patch, principal.sub, unless_touched=is_conditional
            ):
                job = await self._store.jobs.get(job.id)
                return await shown(request, job, principal, self._services)
        raise HttpProblem(ProblemCode.STORE_UNAVAILABLE, "the job is being changed: try again")

    async def cancel(self, request: Request, principal: Principal) -> Response:
        """Cancel a job; one on board comes back: 202. The body may be empty."""
        asked = decode_json_body(await read_body(request) or b"{}", CancelRequest)
        job = await job_of(request, principal, self._store)
        job = await self._submissions.cancel(job, asked, principal.sub)
        response = await shown(request, job, principal, self._services)
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
        return await self._current(request, job, principal)

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
                return await self._current(request, job, principal)
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
        require_mall(principal, self._services.places, asked.pickup.mall)
        valid = self._submissions.read(asked, self._store.now_ms())
        record = await self._dispatcher.orders.quote(valid.mall.id, valid.need)
        market = valid.mall.market
        holds, now_ms = await self._store.jobs.holds(market), self._store.now_ms()
        held = held_view(valid.need, valid.mall.id, holds, now_ms)
        quote = f"quote_{secrets.token_urlsafe(_QUOTE_BYTES)}"
        paused = self._dispatcher.controls.is_paused(valid.mall, valid.need)
        namer = _namer(principal)
        return JsonResponse(quote_view(record, quote, now_ms, namer, held, paused=paused))

    async def erase(self, request: Request, principal: Principal) -> Response:
        """Remove what is known of a customer from its ended jobs."""
        ref = request.path_params["ref"]
        if not is_id(ref):
            raise not_found("customer")
        service = owner_of(principal)
        markets = list(filter(principal.reaches, self._services.places.markets))
        erased = await erase_customer(
            self._services, ref, markets, service=service, actor=principal.sub
        )
        return JsonResponse(CustomerErased(ref, erased.count, erased.open_jobs, erased.has_more))

    async def _held(self, job: Job) -> resources.Held | None:
        """Return the store hold that keeps a waiting job from being offered."""
        if job.state not in _WAITING:
            return None
        if job.hold is not None:
            return job_hold_view(job.hold)
        holds = await self._store.jobs.holds(job.market)
        return held_view(job.need, job.mall, holds, self._store.now_ms())

    async def _current(self, request: Request, job: Job, principal: Principal) -> Response:
        return await shown(request, await self._store.jobs.get(job.id), principal, self._services)


def _namer(principal: Principal) -> Namer:
    """Operators see drivers by name, order services by number."""
    return str if owner_of(principal) is None else Numbered()
