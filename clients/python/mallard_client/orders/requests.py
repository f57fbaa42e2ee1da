"""Every call of the order API, as steps without I/O."""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, TypedDict
from urllib.parse import quote

from msgspec import UNSET, Struct

from mallard_client.errors import CallFailed
from mallard_client.http.request import Caller, Pause, Steps, Tagged, may_pass, path_of
from mallard_protocol.changes import (
    BatchResult,
    BatchResults,
    CancelBatchRequest,
    CancelResult,
    CancelResults,
    CustomerErased,
    JobPatch,
)
from mallard_protocol.codes import MAX_WAIT_S
from mallard_protocol.resources import (
    AnswerRequest,
    AssignRequest,
    CancelRequest,
    CloseRequest,
    DriverList,
    DriverProfile,
    DriverView,
    Explanation,
    Job,
    JobList,
    JobProof,
    JobProofList,
    JobRequest,
    Market,
    MarketList,
    Quote,
    ReadyRequest,
    RedeliverRequest,
    RegisteredDriver,
    SuspendRequest,
    Tracking,
    TransferRequest,
    UnassignRequest,
)

JobBody = JobRequest | Mapping[str, object]
PatchBody = JobPatch | Mapping[str, object]

# The engine answers a wait for the end of an assigned job at once: poll this often.
_ASK_AGAIN_S: Final = 1.0
# How much longer than one call a list of them may take.
_BATCH_S: Final = 20.0
_ASSIGNED: Final = frozenset({"assigned", "at_mall", "picked_up", "returning"})


class JobFilter(TypedDict, total=False):
    """Which jobs to list, and how many a page (`limit` ≤ 200).

    `state`: one, or several. `created_to` itself is out of the range; times have an offset.
    """

    market: str
    state: str | Collection[str]
    external_id: str
    created_from: datetime
    created_to: datetime
    updated_since: datetime
    limit: int


class OrderCalls:
    """The calls of an order service. `clock` counts seconds from any origin."""

    def __init__(self, caller: Caller, clock: Callable[[], float]) -> None:
        self._caller = caller
        self._clock = clock

    def submit(self, job: JobBody, key: str | None, wait_s: int | None) -> Steps[Job]:
        """``POST /v1/jobs``, under one idempotency key for all its repeats.

        A failure carries the key: the caller may repeat the submission under it.
        """
        used_key = key or uuid.uuid4().hex
        try:
            return (
                yield from self._caller.call(
                    "POST",
                    "/v1/jobs",
                    Job,
                    body=job,
                    headers={"Idempotency-Key": used_key},
                    params={"wait_s": wait_s},
                    longer_s=wait_s or 0,
                )
            )
        except CallFailed as failure:
            failure.idempotency_key = used_key
            raise

    def get(self, job: str, wait_s: int | None = None) -> Steps[Job]:
        """``GET /v1/jobs/{id}``."""
        path, params = _job(job), {"wait_s": wait_s}
        return self._caller.call("GET", path, Job, params=params, longer_s=wait_s or 0)

    def get_tagged(self, job: str) -> Steps[Tagged[Job]]:
        """``GET /v1/jobs/{id}``, with its entity tag."""
        return self._caller.tagged("GET", _job(job), Job)

    def change(self, job: str, patch: PatchBody, if_match: str | None) -> Steps[Job]:
        """``PATCH /v1/jobs/{id}``. A conditional one is not repeated: it would be stale."""
        headers = {} if if_match is None else {"If-Match": if_match}
        return self._caller.call(
            "PATCH", _job(job), Job, headers=headers, body=patch, repeatable=if_match is None
        )

    def submit_many(self, jobs: Mapping[str, JobBody]) -> Steps[tuple[BatchResult, ...]]:
        """``POST /v1/jobs:batch``. All its repeats make each job once."""
        items = [{"key": key, "job": job} for key, job in jobs.items()]
        answer = yield from self._caller.call(
            "POST", "/v1/jobs:batch", BatchResults, body={"items": items}, longer_s=_BATCH_S
        )
        return answer.items

    def cancel_many(
        self, jobs: Sequence[str], reason: str, note: str | None
    ) -> Steps[tuple[CancelResult, ...]]:
        """``POST /v1/jobs:cancel``."""
        request = CancelBatchRequest(tuple(jobs), reason, note or UNSET)
        answer = yield from self._caller.call(
            "POST", "/v1/jobs:cancel", CancelResults, body=request, longer_s=_BATCH_S
        )
        return answer.items

    def erase_customer(self, ref: str) -> Steps[CustomerErased]:
        """``DELETE /v1/customers/{ref}``."""
        return self._caller.call("DELETE", f"/v1/customers/{quote(ref, safe='')}", CustomerErased)

    def wait(self, job: str, *, for_end: bool, timeout_s: float) -> Steps[Job]:
        """Poll until the job is assigned or has ended (`for_end`: ended), or time is up.

        A node that goes down meanwhile, or a deploy, does not end the wait.
        """
        until = self._clock() + timeout_s
        while True:
            asked_at = self._clock()
            wait_s = max(0, min(MAX_WAIT_S, int(until - asked_at)))
            try:
                seen = yield from self.get(job, wait_s or None)
            except CallFailed as failure:
                left_s = until - self._clock()
                if left_s <= 0 or not may_pass(failure):
                    raise
                yield Pause(min(_ASK_AGAIN_S, left_s))
                continue
            now = self._clock()
            arrived = seen.terminal or (not for_end and seen.state in _ASSIGNED)
            if arrived or now >= until:
                return seen
            if now - asked_at < _ASK_AGAIN_S:
                yield Pause(min(_ASK_AGAIN_S, until - now))

    def page(self, filters: JobFilter, cursor: str | None) -> Steps[JobList]:
        """``GET /v1/jobs``: one page."""
        state = filters.get("state")
        params = {
            "market": filters.get("market"),
            "state": state if state is None or isinstance(state, str) else ",".join(state),
            "external_id": filters.get("external_id"),
            "created_from": _text(filters.get("created_from")),
            "created_to": _text(filters.get("created_to")),
            "updated_since": _text(filters.get("updated_since")),
            "limit": filters.get("limit"),
            "cursor": cursor,
        }
        return self._caller.call("GET", "/v1/jobs", JobList, params=params)

    def cancel(self, job: str, reason: str, note: str | None = None) -> Steps[Job]:
        """``POST /v1/jobs/{id}/cancel``."""
        return self._post(_job(job, "cancel"), CancelRequest(reason, note or UNSET))

    def answer(self, job: str, problem: str, request: AnswerRequest) -> Steps[Job]:
        """``POST /v1/jobs/{id}/problems/{p}/answer``."""
        return self._post(_job(job, "problems", problem, "answer"), request)

    def redeliver(self, job: str, request: RedeliverRequest) -> Steps[Job]:
        """``POST /v1/jobs/{id}/redeliver``."""
        return self._post(_job(job, "redeliver"), request)

    def ready(self, job: str, store: str, ready_at: datetime) -> Steps[Job]:
        """``POST /v1/jobs/{id}/ready``."""
        return self._post(_job(job, "ready"), ReadyRequest(store, ready_at))

    def tracking(self, job: str) -> Steps[Tracking]:
        """``GET /v1/jobs/{id}/tracking``."""
        return self._caller.call("GET", _job(job, "tracking"), Tracking)

    def end_tracking(self, job: str) -> Steps[None]:
        """``DELETE /v1/jobs/{id}/tracking``."""
        return self._caller.call("DELETE", _job(job, "tracking"), type(None))

    def track(self, token: str) -> Steps[Tracking]:
        """``GET /v1/track/{token}``."""
        return self._caller.call("GET", path_of("track", token.rpartition("/")[2]), Tracking)

    def proofs(self, job: str) -> Steps[tuple[JobProof, ...]]:
        """``GET /v1/jobs/{id}/proofs``."""
        answer = yield from self._caller.call("GET", _job(job, "proofs"), JobProofList)
        return answer.items

    def explain(self, job: str) -> Steps[Explanation]:
        """``GET /v1/jobs/{id}/explain``."""
        return self._caller.call("GET", _job(job, "explain"), Explanation)

    def quote(self, job: JobBody) -> Steps[Quote]:
        """``POST /v1/quotes``."""
        return self._caller.call("POST", "/v1/quotes", Quote, body=job)

    def markets(self) -> Steps[tuple[Market, ...]]:
        """``GET /v1/markets``."""
        answer = yield from self._caller.call("GET", "/v1/markets", MarketList)
        return answer.items

    def market(self, market: str) -> Steps[Market]:
        """``GET /v1/markets/{m}``."""
        return self._caller.call("GET", _market(market), Market)

    def _post(self, path: str, body: Struct, *, repeatable: bool = True) -> Steps[Job]:
        return self._caller.call("POST", path, Job, body=body, repeatable=repeatable)


class OperatorCalls(OrderCalls):
    """The further calls of an operator. Assignments are not repeated when an answer is lost."""

    def assign(self, job: str, driver: str) -> Steps[Job]:
        """``POST /v1/jobs/{id}/assign``."""
        return self._post(_job(job, "assign"), AssignRequest(driver), repeatable=False)

    def unassign(self, job: str, reason: str) -> Steps[Job]:
        """``POST /v1/jobs/{id}/unassign``."""
        return self._post(_job(job, "unassign"), UnassignRequest(reason), repeatable=False)

    def close_job(self, job: str, request: CloseRequest) -> Steps[Job]:
        """``POST /v1/jobs/{id}/close``."""
        return self._post(_job(job, "close"), request, repeatable=False)

    def drivers(self, market: str, near: str | None, radius_m: int | None) -> Steps[DriverList]:
        """``GET /v1/markets/{m}/drivers``."""
        params = {"near": near, "radius_m": radius_m}
        return self._caller.call("GET", _market(market, "drivers"), DriverList, params=params)

    def driver(self, market: str, driver: str) -> Steps[RegisteredDriver]:
        """``GET /v1/markets/{m}/drivers/{id}``."""
        return self._caller.call("GET", _market(market, "drivers", driver), RegisteredDriver)

    def put_driver(
        self, market: str, driver: str, profile: DriverProfile
    ) -> Steps[RegisteredDriver]:
        """``PUT /v1/markets/{m}/drivers/{id}``."""
        path = _market(market, "drivers", driver)
        return self._caller.call("PUT", path, RegisteredDriver, body=profile)

    def suspend(self, market: str, driver: str, reason: str) -> Steps[DriverView]:
        """``POST /v1/markets/{m}/drivers/{id}/suspend``."""
        path = _market(market, "drivers", driver, "suspend")
        return self._caller.call("POST", path, DriverView, body=SuspendRequest(reason))

    def transfer(self, market: str, driver: str, request: TransferRequest) -> Steps[Job]:
        """``POST /v1/markets/{m}/drivers/{id}/transfer``. Repeating it makes no second one."""
        return self._post(_market(market, "drivers", driver, "transfer"), request)

    def resume(self, market: str, driver: str) -> Steps[DriverView]:
        """``POST /v1/markets/{m}/drivers/{id}/resume``."""
        return self._caller.call("POST", _market(market, "drivers", driver, "resume"), DriverView)


def job_events_path(job: str) -> str:
    """Return the path of a job's event stream."""
    return _job(job, "events")


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _job(*parts: str) -> str:
    return path_of("jobs", *parts)


def _market(*parts: str) -> str:
    return path_of("markets", *parts)
