"""Both order clients over real HTTP, against a counterpart that speaks the contract by hand."""

import asyncio
import inspect
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from mallard_client.errors import ApiProblem, BadAnswer, Unreachable
from mallard_client.operator_client import OperatorClient
from mallard_client.orders.client import OrderClient, OrderClientSync
from mallard_protocol.changes import DropoffChange, JobPatch
from mallard_protocol.messages import Vehicle
from mallard_protocol.resources import (
    DriverProfile,
    DropoffRequest,
    JobRequest,
    Pickup,
    PickupStore,
    RegisteredVehicle,
)
from tests.clients.http_counterpart import Answer, HttpCounterpart, a_job_resource

JOB = JobRequest(
    pickup=Pickup("chandler-fashion-center", (PickupStore("lego", parcels=2),)),
    dropoff=DropoffRequest(33.3197, -111.8412, deadline=datetime(2026, 11, 23, tzinfo=UTC)),
)
NO_WAIT = {"Retry-After": "0"}
PROBLEM = {"type": "about:blank", "title": "t", "status": 422, "code": "invalid_fields"}

# Runs a call of the client under test to its end: `call("submit", JOB)`.
Call = Callable[..., Any]


@pytest.fixture
def engine() -> Iterator[HttpCounterpart]:
    with HttpCounterpart.listening() as counterpart:
        yield counterpart


@pytest.fixture(params=["async", "sync"])
def call(request: pytest.FixtureRequest, engine: HttpCounterpart) -> Call:
    def run(method: str, *args: Any, url: Any = None, **kwargs: Any) -> Any:
        if request.param == "async":
            return asyncio.run(_call_async(url or engine.url, method, *args, **kwargs))
        with OrderClientSync(url or engine.url, "a-token", tries=4, rng=_Soon()) as client:
            outcome = getattr(client, method)(*args, **kwargs)
            return list(outcome) if inspect.isgenerator(outcome) else outcome

    return run


def test_submission_has_a_key_and_a_token(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(Answer(201, a_job_resource()))
    assert call("submit", JOB).id == "job_phoenix.1"
    (seen,) = engine.seen
    assert (seen.method, seen.path) == ("POST", "/v1/jobs")
    assert seen.headers["authorization"] == "Bearer a-token"
    assert seen.headers["content-type"] == "application/json"
    assert len(seen.headers["idempotency-key"]) >= 16
    assert seen.body["pickup"] == {
        "mall": "chandler-fashion-center",
        "stores": [{"store": "lego", "parcels": 2}],
    }
    assert seen.body["dropoff"]["deadline"] == "2026-11-23T00:00:00Z"


def test_submission_is_repeated_under_the_same_key(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(
        Answer(0), Answer(503, {}, NO_WAIT), Answer(429, {}, NO_WAIT), Answer(201, a_job_resource())
    )
    assert call("submit", JOB, wait_s=3).state == "queued"
    assert len(engine.seen) == 4
    assert len({seen.headers["idempotency-key"] for seen in engine.seen}) == 1
    assert [seen.body for seen in engine.seen] == [engine.seen[0].body] * 4
    assert engine.seen[0].params == {"wait_s": "3"}


def test_given_idempotency_key_is_used(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(Answer(201, a_job_resource()))
    call("submit", {"pickup": {}, "dropoff": {}}, key="mine")
    assert engine.seen[0].headers["idempotency-key"] == "mine"


def test_refusal_is_typed_and_not_repeated(engine: HttpCounterpart, call: Call) -> None:
    errors = [{"pointer": "/dropoff/lat", "detail": "expected a number"}]
    engine.will_answer(Answer(422, {**PROBLEM, "detail": "bad", "errors": errors}))
    with pytest.raises(ApiProblem) as refused:
        call("submit", JOB)
    assert (refused.value.status, refused.value.code) == (422, "invalid_fields")
    assert refused.value.errors[0].pointer == "/dropoff/lat"
    assert len(engine.seen) == 1


def test_duplicate_names_its_job(engine: HttpCounterpart, call: Call) -> None:
    duplicate = {**PROBLEM, "status": 409, "code": "duplicate_external_id", "detail": ""}
    engine.will_answer(Answer(409, {**duplicate, "job": "job_phoenix.0"}))
    with pytest.raises(ApiProblem) as refused:
        call("submit", JOB)
    assert refused.value.job == "job_phoenix.0"


def test_proxy_page_is_retried_then_raised(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(*[Answer(404, b"<html>")] * 4)
    with pytest.raises(ApiProblem) as refused:
        call("get", "job_phoenix.1")
    assert (refused.value.status, refused.value.code) == (404, "")
    assert len(engine.seen) == 4


@pytest.mark.parametrize(
    "page",
    [
        Answer(200, b"<html>please log in</html>"),
        Answer(200, b""),
        Answer(200, b"\xff\xfe"),
        Answer(200, {"hello": "there"}),
        Answer(302, b"", {"Location": "http://login.example/"}),
    ],
)
def test_answer_of_something_else_is_retried_and_named(
    engine: HttpCounterpart, call: Call, page: Answer
) -> None:
    engine.will_answer(page, Answer(201, a_job_resource()))
    assert call("submit", JOB).id == "job_phoenix.1"
    assert len({seen.headers["idempotency-key"] for seen in engine.seen}) == 1
    engine.will_answer(*[page] * 4)
    with pytest.raises(BadAnswer):
        call("get", "job_phoenix.1")


def test_body_that_cannot_be_unpacked_is_retried(engine: HttpCounterpart, call: Call) -> None:
    broken = Answer(200, b"no gzip", {"Content-Encoding": "gzip"})
    engine.will_answer(broken, Answer(200, a_job_resource()))
    assert call("get", "job_phoenix.1").id == "job_phoenix.1"


def test_failed_submission_tells_its_key(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(*[Answer(0)] * 4)
    with pytest.raises(Unreachable) as failed:
        call("submit", JOB)
    assert failed.value.idempotency_key == engine.seen[0].headers["idempotency-key"]
    engine.will_answer(Answer(201, a_job_resource()))
    call("submit", JOB, key=failed.value.idempotency_key)
    assert len({seen.headers["idempotency-key"] for seen in engine.seen}) == 1


def test_assignment_that_a_proxy_answered_is_not_repeated(engine: HttpCounterpart) -> None:
    engine.will_answer(Answer(502, b"<html>"))

    async def assign() -> None:
        async with OperatorClient(engine.url, "a-token", rng=_Soon()) as operator:
            await operator.assign("job_phoenix.1", "d1")

    with pytest.raises(ApiProblem):
        asyncio.run(assign())
    assert len(engine.seen) == 1


def test_submission_fails_after_the_last_try(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(*[Answer(0)] * 4)
    with pytest.raises(Unreachable):
        call("get", "job_phoenix.1")
    assert len(engine.seen) == 4


def test_next_server_is_tried(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(Answer(201, a_job_resource()))
    call("submit", JOB, url=["http://127.0.0.1:9", engine.url])
    assert len(engine.seen) == 1


def test_wait_asks_the_server_to_wait(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(Answer(200, a_job_resource(state="assigned")))
    assert call("wait", "job_phoenix.1", timeout_s=30).state == "assigned"
    assert engine.seen[0].params == {"wait_s": "20"}


def test_wait_returns_the_job_when_time_is_up(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(Answer(200, a_job_resource()))
    assert call("wait", "job_phoenix.1", timeout_s=0).state == "queued"
    assert engine.seen[0].params == {}


def test_jobs_are_listed_over_pages(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(
        Answer(200, {"items": [a_job_resource("a"), a_job_resource("b")], "next_cursor": "n"}),
        Answer(200, {"items": [a_job_resource("c")], "next_cursor": None}),
    )
    listed = call("jobs", market="phoenix", state="queued", limit=2)
    assert [job.id for job in listed] == ["a", "b", "c"]
    first, second = (seen.params for seen in engine.seen)
    assert first == {"market": "phoenix", "state": "queued", "limit": "2"}
    assert second == {**first, "cursor": "n"}


def test_cancel_ready_quote_and_explain(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(
        Answer(200, a_job_resource(state="cancelled")),
        Answer(200, a_job_resource()),
        Answer(200, {"would_match": False, "eta_s": None, "candidates": [], "why_not": "nobody"}),
        Answer(
            200,
            {"job": "j", "round": 1, "at": None, "radius_m": 3000, "capped": False}
            | {"candidates": [], "asked": []},
        ),
    )
    assert call("cancel", "job_phoenix.1", "changed my mind").state == "cancelled"
    call("ready", "job_phoenix.1", "lego", datetime(2026, 11, 23, tzinfo=UTC))
    assert call("quote", JOB).why_not == "nobody"
    assert call("explain", "job_phoenix.1").radius_m == 3000
    assert [seen.path.removeprefix("/v1/") for seen in engine.seen] == [
        "jobs/job_phoenix.1/cancel",
        "jobs/job_phoenix.1/ready",
        "quotes",
        "jobs/job_phoenix.1/explain",
    ]
    assert engine.seen[0].body == {"reason": "changed my mind"}
    assert engine.seen[1].body == {"store": "lego", "ready_at": "2026-11-23T00:00:00Z"}


def test_order_is_changed_under_its_tag(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(
        Answer(200, a_job_resource(), {"ETag": '"a.b"'}), Answer(200, a_job_resource())
    )
    tagged = call("get_tagged", "job_phoenix.1")
    assert (tagged.value.id, tagged.etag) == ("job_phoenix.1", '"a.b"')
    patch = JobPatch(priority=3, dropoff=DropoffChange(note=None))
    call("change", "job_phoenix.1", patch, if_match=tagged.etag)
    sent = engine.seen[1]
    assert (sent.method, sent.path) == ("PATCH", "/v1/jobs/job_phoenix.1")
    assert sent.headers["if-match"] == '"a.b"'
    assert sent.body == {"priority": 3, "dropoff": {"note": None}}


def test_only_an_unconditional_change_is_repeated(engine: HttpCounterpart, call: Call) -> None:
    engine.will_answer(Answer(0), Answer(200, a_job_resource()), Answer(0))
    assert call("change", "job_phoenix.1", {"priority": 1}).id == "job_phoenix.1"
    with pytest.raises(Unreachable):
        call("change", "job_phoenix.1", {"priority": 1}, if_match='"a"')
    assert len(engine.seen) == 3


def test_many_jobs_are_submitted_under_their_keys(engine: HttpCounterpart, call: Call) -> None:
    items = [
        {"key": "a", "status": 201, "replayed": True, "job": a_job_resource()},
        {"key": "b", "status": 422, "replayed": False, "problem": {**PROBLEM, "detail": "d"}},
    ]
    engine.will_answer(Answer(503, PROBLEM, NO_WAIT), Answer(200, {"items": items}))
    first, second = call("submit_many", {"a": JOB, "b": {"pickup": 1}})
    assert (first.key, first.status, first.replayed) == ("a", 201, True)
    assert first.job.id == "job_phoenix.1"
    assert (second.status, second.problem.code) == (422, "invalid_fields")
    assert [seen.path for seen in engine.seen] == ["/v1/jobs:batch"] * 2
    assert engine.seen[0].body == engine.seen[1].body
    assert [item["key"] for item in engine.seen[0].body["items"]] == ["a", "b"]


def test_many_jobs_are_cancelled(engine: HttpCounterpart, call: Call) -> None:
    items = [
        {"id": "x", "status": 200, "job": a_job_resource("x", "cancelled")},
        {"id": "y", "status": 404, "problem": {**PROBLEM, "detail": "d", "code": "not_found"}},
    ]
    engine.will_answer(Answer(200, {"items": items}))
    first, second = call("cancel_many", ["x", "y"], "late", "sorry")
    assert (first.job.state, second.problem.code) == ("cancelled", "not_found")
    (seen,) = engine.seen
    assert seen.path == "/v1/jobs:cancel"
    assert seen.body == {"ids": ["x", "y"], "reason": "late", "note": "sorry"}


async def test_assignment_is_not_repeated_when_its_answer_is_lost(
    engine: HttpCounterpart,
) -> None:
    engine.will_answer(Answer(0))
    async with OperatorClient(engine.url, "a-token", rng=_Soon()) as operator:
        with pytest.raises(Unreachable):
            await operator.assign("job_phoenix.1", "d1")
    assert engine.seen[0].body == {"driver": "d1"}
    assert len(engine.seen) == 1


async def test_operator_sees_drivers_near_a_point(engine: HttpCounterpart) -> None:
    driver = {"driver": "d1", "state": "available", "lat": 33.3, "lon": -111.8}
    engine.will_answer(Answer(200, {"items": [{**driver, "at_ms": 1, "jobs": []}]}))
    async with OperatorClient(engine.url, "a-token") as operator:
        (seen,) = await operator.drivers("phoenix", near=(33.3, -111.8), radius_m=900)
    assert seen.driver == "d1"
    assert engine.seen[0].params == {"near": "33.3,-111.8", "radius_m": "900"}


async def test_operator_registers_and_reads_a_driver(engine: HttpCounterpart) -> None:
    profile = {"alias": "Ann", "vehicle": {"kind": "van", "max_jobs": 20}, "status": "suspended"}
    shown: dict[str, Any] = {
        "driver": "d1",
        "state": "offline",
        "lat": None,
        "lon": None,
        "at_ms": None,
    }
    shown |= {"jobs": [], "alias": "Ann", "status": "suspended", "profile": profile}
    engine.will_answer(*[Answer(200, shown)] * 3)
    async with OperatorClient(engine.url, "a-token") as operator:
        vehicle = RegisteredVehicle(kind="van", max_jobs=20)
        request = DriverProfile(alias="Ann", vehicle=vehicle, status="suspended")
        put = await operator.put_driver("phoenix", "d1", request)
        await operator.put_driver("phoenix", "d1", DriverProfile())
        read = await operator.driver("phoenix", "d1")
    assert put == read
    assert (read.alias, read.status, read.last_seen) == ("Ann", "suspended", None)
    assert read.profile is not None
    assert read.profile.vehicle == Vehicle(kind="van", max_jobs=20)
    assert [(it.method, it.body) for it in engine.seen] == [
        ("PUT", profile),
        ("PUT", {}),
        ("GET", None),
    ]


class _Soon(random.Random):
    """Waits are as short as they can be."""

    def uniform(self, a: float, b: float) -> float:
        return min(a, b)


async def _call_async(url: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    async with OrderClient(url, "a-token", tries=4, rng=_Soon()) as client:
        outcome = getattr(client, method)(*args, **kwargs)
        return [item async for item in outcome] if inspect.isasyncgen(outcome) else await outcome
