"""Reads jobs on behalf of a token. A job of another service is reported as missing."""

import asyncio
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.core.job_ids import is_job_id, market_of_job
from mallard_engine.core.model import Job
from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.driver_names import names_for
from mallard_engine.gateway.http.entity_tags import job_tag, tagged
from mallard_engine.gateway.http.parameters import whole_number
from mallard_engine.gateway.http.rate_limits import slot_of
from mallard_engine.gateway.http.request_parsing import is_disconnected
from mallard_engine.gateway.http.views.jobs import closed_stores, held_view, job_view
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.transfers import open_transfer
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import JobRef, NoSuchJob, Storage, StoreUnavailable
from mallard_protocol import resources
from mallard_protocol.codes import MAX_WAIT_S, Role
from mallard_protocol.lifecycle import HELD, TERMINAL, JobState

_POLL_S: Final = 0.1
_SETTLED: Final = HELD | TERMINAL
_WAITING: Final = frozenset({JobState.SCHEDULED, JobState.QUEUED, JobState.OFFERED})
# A service can cause one line per request.
_log = RateLimitedLog(structlog.get_logger(__name__))


def owner_of(principal: Principal) -> str | None:
    """Return the service whose jobs the principal sees; None if it sees all."""
    return None if principal.role is Role.OPERATOR else principal.sub


def require_mall(principal: Principal, places: Places, mall: str) -> None:
    """Raise `WrongScope` if the mall is in a market that the token does not reach."""
    if mall in places.malls:
        principal.require_market(places.market_of_mall(mall).id)


async def job_of(request: Request, principal: Principal, store: Storage) -> Job:
    """Return the job of the path. Raises `NoSuchJob`, also for a job of another service."""
    return await job_named(request.path_params["id"], principal, store)


async def job_named(job_id: str, principal: Principal, store: Storage) -> Job:
    """Return a job. Raises `NoSuchJob`, also for a job of another service."""
    if not is_job_id(job_id):
        raise NoSuchJob(job_id)
    principal.require_market(market_of_job(job_id) or "")
    job = await store.jobs.get(job_id)
    if owner_of(principal) not in {None, job.service}:
        _log.warning(
            "job of another service requested", service=principal.sub, example={"job": job_id}
        )
        raise NoSuchJob(job_id)
    return job


def ref_of(job: Job) -> JobRef:
    """Return the reference that the ports take."""
    return JobRef(job.id, job.mall)


async def view_of(job: Job, principal: Principal, services: Services) -> resources.Job:
    """Return a job as this principal may see it."""
    store = services.store
    transfer = await open_transfer(store, job)
    with_code = principal.role is Role.OPERATOR
    names = await names_for(principal, store, job, *([transfer] if transfer else ()))
    holds = {} if job.terminal else await store.jobs.holds(job.market)
    now_ms = store.now_ms()
    held = held_view(job.need, job.mall, holds, now_ms) if job.state in _WAITING else None
    return job_view(
        job,
        names,
        held,
        transfer,
        with_code=with_code,
        closed=closed_stores(job.need, job.mall, holds, now_ms),
        public_url=services.public_url,
    )


async def shown(request: Request, job: Job, principal: Principal, services: Services) -> Response:
    """Return the response with a job and its entity tag, as this principal may see it."""
    view = await view_of(job, principal, services)
    return tagged(request, view, job_tag(view))


def wait_of(request: Request) -> int:
    """Return how long the request asks to wait, in seconds."""
    return whole_number(request, "wait_s", low=0, high=MAX_WAIT_S, default=0)


async def settled(
    job: Job, request: Request, store: Storage, wait_s: int, leaving: asyncio.Event
) -> Job:
    """Return the job once it is assigned or has ended, or its state after `wait_s`.

    If the client disconnects, Redis fails or the node shuts down, the wait ends with the state
    that was read last.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    if slot := slot_of(request):
        slot.release()  # a waiting request uses no CPU
    while (
        job.state not in _SETTLED and (left_s := until - loop.time()) > 0 and not leaving.is_set()
    ):
        await asyncio.sleep(min(_POLL_S, left_s))
        if is_disconnected(request):
            break
        try:
            job = await store.jobs.get(job.id)
        except StoreUnavailable:
            break
    return job
