"""Every call of the order API, as steps without I/O: the methods of both clients.

Each takes the caller, then what its method takes; a client's method has its docstring.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, TypedDict, Unpack
from urllib.parse import quote

from msgspec import UNSET, Struct

from mallard_client.backoff import bounded_s
from mallard_client.errors import ApiProblem, CallFailed
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
from mallard_protocol.codes import MAX_WAIT_S, AnswerAction
from mallard_protocol.resources import (
    AnswerRequest,
    CancelRequest,
    DropoffRequest,
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
    Tracking,
)

JobBody = JobRequest | Mapping[str, object]
PatchBody = JobPatch | Mapping[str, object]
AnswerName = Literal["retry", "leave", "return", "wait", "instructions"]

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


def submit(
    caller: Caller, job: JobBody, *, key: str | None = None, wait_s: int | None = None
) -> Steps[Job]:
    """Submit a job; `key` missing: one is made. `wait_s` (≤ 20) waits for a driver.

    Name a key of your own where your program may end, or cancel this call, before it returns. A
    failure carries the key: the submission may be repeated under it.
    """
    used_key = key or uuid.uuid4().hex
    try:
        return (
            yield from caller.call(
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


def get(caller: Caller, job: str) -> Steps[Job]:
    """Return the job as it is now."""
    return _get(caller, job, None)


def get_tagged(caller: Caller, job: str) -> Steps[Tagged[Job]]:
    """Return the job as it is now, with its entity tag: the condition of a `change`."""
    return caller.tagged("GET", _job(job), Job)


def change(
    caller: Caller, job: str, patch: PatchBody, *, if_match: str | None = None
) -> Steps[Job]:
    """Change an order, all of the patch or nothing; None removes an optional field.

    Raises `ApiProblem` with the code ``too_late`` and the pointers of fields that are fixed by now.
    With `if_match`, the tag of `get_tagged`, it is refused (``precondition_failed``) if anything
    but the estimates has changed since, and not repeated.
    """
    headers = {} if if_match is None else {"If-Match": if_match}
    repeatable = if_match is None
    return caller.call("PATCH", _job(job), Job, headers=headers, body=patch, repeatable=repeatable)


def submit_many(caller: Caller, jobs: Mapping[str, JobBody]) -> Steps[tuple[BatchResult, ...]]:
    """Submit up to 100 jobs by their idempotency keys; each has its own result, in order.

    Repeat those whose problem is temporary (429, 503) with the same keys.
    """
    items = [{"key": key, "job": job} for key, job in jobs.items()]
    answer = yield from caller.call(
        "POST", "/v1/jobs:batch", BatchResults, body={"items": items}, longer_s=_BATCH_S
    )
    return answer.items


def cancel_many(
    caller: Caller, jobs: Sequence[str], reason: str = "cancelled", note: str | None = None
) -> Steps[tuple[CancelResult, ...]]:
    """Cancel up to 100 jobs; each has its own result, in order."""
    request = CancelBatchRequest(tuple(jobs), reason, note or UNSET)
    answer = yield from caller.call(
        "POST", "/v1/jobs:cancel", CancelResults, body=request, longer_s=_BATCH_S
    )
    return answer.items


def erase_customer(caller: Caller, ref: str) -> Steps[CustomerErased]:
    """Remove what is known of a customer (`dropoff.customer_ref`) from its ended jobs.

    Its open jobs are named in the answer and keep their data: call again once they have ended.
    """
    return caller.call("DELETE", f"/v1/customers/{quote(ref, safe='')}", CustomerErased)


def wait(caller: Caller, job: str, *, for_end: bool = False, timeout_s: float = 60.0) -> Steps[Job]:
    """Return the job once it is assigned or has ended, or after `timeout_s`.

    With `for_end`, only the end counts. The wait continues while the engine is unreachable.
    """
    until = caller.clock() + timeout_s
    while True:
        asked_at = caller.clock()
        wait_s = max(0, min(MAX_WAIT_S, int(until - asked_at)))
        try:
            seen = yield from _get(caller, job, wait_s or None)
        except CallFailed as failure:
            left_s = until - caller.clock()
            if left_s <= 0 or not may_pass(failure):
                raise
            wish_s = failure.retry_after_s if isinstance(failure, ApiProblem) else None
            # The call has waited, but not for longer than its own time.
            yield Pause(min(max(_ASK_AGAIN_S, bounded_s(wish_s)), left_s))
            continue
        now = caller.clock()
        arrived = seen.terminal or (not for_end and seen.state in _ASSIGNED)
        if arrived or now >= until:
            return seen
        if now - asked_at < _ASK_AGAIN_S:
            yield Pause(min(_ASK_AGAIN_S, until - now))


def page(
    caller: Caller, *, cursor: str | None = None, **filters: Unpack[JobFilter]
) -> Steps[JobList]:
    """Return a page of jobs, newest first."""
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
    return caller.call("GET", "/v1/jobs", JobList, params=params)


def cancel(
    caller: Caller, job: str, reason: str = "cancelled", note: str | None = None
) -> Steps[Job]:
    """Cancel a job; cancelling again changes nothing.

    One on board comes back: it has ``cancel_requested``, is ``returning``, and ends as
    ``returned``.
    """
    return _post(caller, _job(job, "cancel"), CancelRequest(reason, note or UNSET))


def answer(
    caller: Caller, job: str, problem: str, action: AnswerName, text: str = ""
) -> Steps[Job]:
    """Answer a problem of the job's driver; the same answer again changes nothing."""
    request = AnswerRequest(AnswerAction(action), text)
    return _post(caller, _job(job, "problems", problem, "answer"), request)


def redeliver(
    caller: Caller, job: str, deadline: datetime, dropoff: DropoffRequest | None = None
) -> Steps[Job]:
    """Deliver the parcels of a returned job after all; again gives the same job."""
    return _post(caller, _job(job, "redeliver"), RedeliverRequest(deadline, dropoff or UNSET))


def ready(caller: Caller, job: str, store: str, ready_at: datetime) -> Steps[Job]:
    """Set when a store's parcels are actually ready."""
    return _post(caller, _job(job, "ready"), ReadyRequest(store, ready_at))


def tracking(caller: Caller, job: str) -> Steps[Tracking]:
    """Return where a job is, as its customer sees it."""
    return caller.call("GET", _job(job, "tracking"), Tracking)


def end_tracking(caller: Caller, job: str) -> Steps[None]:
    """End the tracking of a job by its ``tracking_url``, for good."""
    return caller.call("DELETE", _job(job, "tracking"), type(None))


def track(caller: Caller, token: str) -> Steps[Tracking]:
    """Return where the job of a ``tracking_url``, or of its token, is."""
    return caller.call("GET", path_of("track", token.rpartition("/")[2]), Tracking)


def proofs(caller: Caller, job: str) -> Steps[tuple[JobProof, ...]]:
    """Return the proofs of a job; the links to their images hold for 15 min."""
    found = yield from caller.call("GET", _job(job, "proofs"), JobProofList)
    return found.items


def explain(caller: Caller, job: str) -> Steps[Explanation]:
    """Explain the choice of driver: the last round and all drivers who were asked."""
    return caller.call("GET", _job(job, "explain"), Explanation)


def quote_job(caller: Caller, job: JobBody) -> Steps[Quote]:
    """Return whether a job would find a driver now; stores nothing."""
    return caller.call("POST", "/v1/quotes", Quote, body=job)


def markets(caller: Caller) -> Steps[tuple[Market, ...]]:
    """Return all markets with their malls and stores."""
    found = yield from caller.call("GET", "/v1/markets", MarketList)
    return found.items


def market(caller: Caller, market: str) -> Steps[Market]:
    """One market."""
    return caller.call("GET", path_of("markets", market), Market)


def job_events_path(job: str) -> str:
    """Return the path of a job's event stream."""
    return _job(job, "events")


def _get(caller: Caller, job: str, wait_s: int | None) -> Steps[Job]:
    params = {"wait_s": wait_s}
    return caller.call("GET", _job(job), Job, params=params, longer_s=wait_s or 0)


def _post(caller: Caller, path: str, body: Struct) -> Steps[Job]:
    return caller.call("POST", path, Job, body=body)


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _job(*parts: str) -> str:
    return path_of("jobs", *parts)
