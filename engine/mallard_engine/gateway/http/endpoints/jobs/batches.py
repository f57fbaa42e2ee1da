"""Order services submit and cancel many jobs in one request, each as if it came alone.

The items are handled one after the other, so that equal keys and external ids of one request have
the effect that they have in this order. An item that fails leaves the others alone: its caller
repeats the request, and the keys keep the jobs that exist.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.contract.reading.bodies import BodyTooLarge, body_as, parse_json_body, patch_as
from mallard_engine.gateway.auth.tokens import Principal
from mallard_engine.gateway.http.driver_names import names_for
from mallard_engine.gateway.http.endpoints.jobs.access import job_named, view_of
from mallard_engine.gateway.http.parameters import checked_key
from mallard_engine.gateway.http.problems import problem_body, problem_of
from mallard_engine.gateway.http.rate_limits import charge_of, cost_of_body, slot_of
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_body, too_slow
from mallard_engine.gateway.http.routing import Handler, RefusalCheck
from mallard_engine.gateway.http.submissions import Submissions
from mallard_engine.gateway.http.views.jobs import job_view
from mallard_engine.gateway.limits.large_bodies import GaveWay, LargeBodies
from mallard_engine.gateway.services import Services
from mallard_engine.ports import StoreUnavailable, Submitted
from mallard_protocol.changes import (
    MAX_BATCH_BYTES,
    BatchItem,
    BatchRequest,
    BatchResult,
    BatchResults,
    CancelBatchRequest,
    CancelResult,
    CancelResults,
)
from mallard_protocol.codes import MAX_BODY_BYTES, ProblemCode
from mallard_protocol.resources import CancelRequest, Job, Problem

# A Redis that answers slowly does not keep a request for minutes: the rest is refused.
_LONGEST_S: Final = 20.0
_CREATED: Final = 201
# Lists that are read at a time, 1 MiB each.
_BODIES_OF_ONE_CALLER: Final = 4
_BODIES: Final = 16
# A list that arrives more slowly gives way. The longest would take 16 s, and is cut after 5 s.
_LEAST_PER_S: Final = 64 * 1024
# A hundred orders with every optional field are half of this. A MiB of small maps would take
# 1.5 s to parse.
_MOST_CONTAINERS: Final = 5_000

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class BatchesApi:
    """Handlers of lists of orders and cancellations."""

    def __init__(self, services: Services, submissions: Submissions, check: RefusalCheck) -> None:
        self._services = services
        self._store = services.store
        self._submissions = submissions
        self._check = check
        self._bodies = LargeBodies(_BODIES_OF_ONE_CALLER, _BODIES, least_per_s=_LEAST_PER_S)

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"submitJobs": self.submit, "cancelJobs": self.cancel}

    async def submit(self, request: Request, principal: Principal) -> Response:
        """Submit up to 100 jobs, each with its own key and its own result."""
        data = await self._read(request, principal)
        # Parsing takes tens of milliseconds, for which other requests should not wait.
        value = await asyncio.to_thread(parse_json_body, data, MAX_BATCH_BYTES, _MOST_CONTAINERS)
        asked = patch_as(value, BatchRequest)
        items = self._items(request, principal)
        done = [await self._submit(item, principal, items) for item in asked.items]
        jobs = [it.job for it in done if isinstance(it, Submitted)]
        names = await names_for(principal, self._store, *jobs)
        results = tuple(
            _result(
                item, it, lambda it: job_view(it.job, names, public_url=self._services.public_url)
            )
            for item, it in zip(asked.items, done, strict=True)
        )
        return JsonResponse(BatchResults(results), items.headers)

    async def _read(self, request: Request, principal: Principal) -> bytes:
        slot = slot_of(request)
        if slot:
            slot.release()  # a request that waits to be read keeps no other from running
        try:
            async with self._bodies.hold(principal.caller) as body:
                async with body.reading():
                    data = await read_body(
                        request, max_bytes=MAX_BATCH_BYTES, received=body.received
                    )
                if slot:
                    await slot.acquire()
        except GaveWay:
            raise too_slow() from None
        return data

    async def _submit(
        self, item: BatchItem, principal: Principal, items: "_Items"
    ) -> Submitted | Problem:
        size = len(msgspec.json.encode(item.job))

        async def submit() -> Submitted:
            key = checked_key(item.key)
            if size > MAX_BODY_BYTES:
                raise BodyTooLarge(f"over {MAX_BODY_BYTES} bytes")
            return await self._submissions.submit(item.job, principal, key=key)

        return await items.run(submit, size)

    async def cancel(self, request: Request, principal: Principal) -> Response:
        """Cancel up to 100 jobs, each with its own result."""
        asked = body_as(parse_json_body(await read_body(request)), CancelBatchRequest)
        items = self._items(request, principal)
        one = CancelRequest(asked.reason, asked.note)

        def canceller(job_id: str) -> Callable[[], Awaitable[CancelResult]]:
            async def cancel() -> CancelResult:
                job = await job_named(job_id, principal, self._store)
                job = await self._submissions.cancel(job, one, principal.sub)
                view = await view_of(job, principal, self._services)
                return CancelResult(job_id, 200 if job.terminal else 202, job=view)

            return cancel

        done = [(job_id, await items.run(canceller(job_id))) for job_id in asked.ids]
        results = tuple(
            it if isinstance(it, CancelResult) else CancelResult(job_id, it.status, problem=it)
            for job_id, it in done
        )
        return JsonResponse(CancelResults(results), items.headers)

    def _items(self, request: Request, principal: Principal) -> "_Items":
        return _Items(request, partial(self._check, request=request, principal=principal))


class _Items:
    """Runs the items of one request, each charged to the rate limits as a request of its own."""

    def __init__(self, request: Request, check: Callable[[Exception], Awaitable[None]]) -> None:
        self._check = check
        self._charge = charge_of(request)
        self._until = asyncio.get_running_loop().time() + _LONGEST_S
        self._is_first = True  # already charged with the request itself
        self.headers: dict[str, str] = {}
        if slot := slot_of(request):
            slot.release()  # from here on the semaphores of the malls limit the work

    async def run(self, item: Callable[[], Awaitable[T]], size: int = 0) -> T | Problem:
        """Return the result of an item of `size` bytes, or its problem."""
        try:
            self._pay(size)
            try:
                return await item()
            except Exception as error:
                await self._check(error)
                raise
        except Exception as error:  # noqa: BLE001 - one item must not end the others
            problem = problem_of(error)
            if problem.code is ProblemCode.INTERNAL:
                _log.exception("item failed", exc_info=error)
            if retry_after := problem.headers.get("Retry-After"):
                self.headers["Retry-After"] = retry_after
            return problem_body(problem)

    def _pay(self, size: int) -> None:
        is_first, self._is_first = self._is_first, False
        if not is_first and self._charge is not None:
            self.headers |= self._charge(1 + cost_of_body(size))
        if asyncio.get_running_loop().time() > self._until:
            raise StoreUnavailable("the store answers too slowly")


def _result(
    item: BatchItem, done: Submitted | Problem, view: Callable[[Submitted], Job]
) -> BatchResult:
    key = item.key if isinstance(item.key, str) else None
    if isinstance(done, Problem):
        return BatchResult(key, done.status, problem=done)
    return BatchResult(key, _CREATED, done.replayed, job=view(done))
