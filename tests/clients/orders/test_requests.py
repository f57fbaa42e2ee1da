"""Calls as steps: what is asked and when, without a server and without time."""

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from mallard_client.errors import ApiProblem, Unreachable
from mallard_client.http.event_stream import Resume
from mallard_client.http.request import (
    Caller,
    Failure,
    Pause,
    Request,
    Response,
    Steps,
    retry_after_s,
)
from mallard_client.http.server_pool import Servers
from mallard_client.orders import requests
from mallard_client.orders.requests import JobFilter
from mallard_protocol.resources import Job
from tests.clients.http_counterpart import a_job_resource

NOT_FOUND = {"type": "", "title": "", "status": 404, "code": "not_found", "detail": ""}


class _Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class _Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def _caller(clock: _Clock) -> Caller:
    return Caller(["http://a", "http://b"], tries=4, rng=_Highest(), clock=clock)


def _walk(steps: Steps[Job], clock: _Clock, *answers: tuple[str, float]) -> tuple[Job, list[str]]:
    """Answer each request with a job in this state after so many seconds; note what happens."""
    log: list[str] = []
    outcome: Response | None = None
    waiting = iter(answers)
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as done:
            return done.value, log
        if isinstance(step, Pause):
            outcome = None
            clock.now_s += step.seconds
            log.append(f"pause {step.seconds:g}")
        else:
            state, took_s = next(waiting)
            clock.now_s += took_s
            outcome = Response(200, json.dumps(a_job_resource(state=state)).encode())
            log.append(f"ask {step.params.get('wait_s')} within {step.timeout_s:g}")


def _finished(
    steps: Steps[Job],
    clock: _Clock,
    answer: Callable[[Request], Response | Failure],
    *,
    each_takes_s: float = 0,
) -> Job:
    """Answer every request until the steps end."""
    outcome: Response | Failure | None = None
    while True:
        try:
            step = steps.send(outcome)
        except StopIteration as done:
            job: Job = done.value
            return job
        if isinstance(step, Pause):
            clock.now_s += step.seconds
            outcome = None
        else:
            assert int(step.params.get("wait_s", 1)) > 0
            clock.now_s += each_takes_s
            outcome = answer(step)


def test_wait_asks_again_at_once_when_the_server_has_waited() -> None:
    clock = _Clock()
    steps = requests.wait(_caller(clock), "j", for_end=False, timeout_s=60)
    job, log = _walk(steps, clock, ("queued", 20), ("offered", 20), ("assigned", 3))
    assert job.state == "assigned"
    assert log == ["ask 20 within 30"] * 3


def test_wait_for_the_end_does_not_hammer_the_server() -> None:
    clock = _Clock()
    steps = requests.wait(_caller(clock), "j", for_end=True, timeout_s=60)
    job, log = _walk(steps, clock, ("assigned", 0), ("picked_up", 0), ("delivered", 0))
    assert job.terminal
    assert [entry for entry in log if entry.startswith("pause")] == ["pause 1", "pause 1"]


def test_wait_gives_up_in_time() -> None:
    clock = _Clock()
    steps = requests.wait(_caller(clock), "j", for_end=False, timeout_s=25)
    job, log = _walk(steps, clock, ("queued", 20), ("queued", 5))
    assert job.state == "queued"
    assert log == ["ask 20 within 30", "ask 5 within 15"]


def test_wait_asks_again_after_the_time_that_the_server_names_within_bounds() -> None:
    clock = _Clock()
    steps = requests.wait(_caller(clock), "j", for_end=False, timeout_s=600)
    asked: list[float] = []

    def answer(_request: Request) -> Response:
        asked.append(clock.now_s)
        if len(asked) == 1:
            return Response(503, b"", 3_600.0)
        return Response(200, json.dumps(a_job_resource(state="assigned")).encode())

    assert _finished(steps, clock, answer).state == "assigned"
    assert asked == [0, 60]


def test_stream_that_is_refused_for_now_is_resumed_within_a_minute() -> None:
    resume = Resume(Servers(["http://a"]), _Highest(), "/v1/events", {})
    resume.url()
    assert resume.refused(503, b"", 86_400.0) == 60.2
    assert resume.refused(503, b"", 7.0) == 7.4


def test_waits_grow_respect_retry_after_and_skip_silent_servers() -> None:
    steps = requests.get(_caller(_Clock()), "j")
    seen: list[str | float] = []
    outcomes: list[Response | Failure] = [
        Failure("cut"),
        Response(503, b"", 2.0),
        Response(429, b""),
    ]
    step = next(steps)
    for outcome in outcomes:
        assert isinstance(step, Request)
        pause = steps.send(outcome)
        assert isinstance(pause, Pause)
        seen += [step.url, round(pause.seconds, 3)]
        step = steps.send(None)
    with pytest.raises(Unreachable, match="cut again"):
        steps.send(Failure("cut again"))
    urls = ["http://a/v1/jobs/j", "http://b/v1/jobs/j"]
    assert seen == [urls[0], 0.2, urls[1], 2.4, urls[1], 0.8]


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        ("3", None, 3.0),
        ("0", None, 0.0),
        (None, None, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:27:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 08:00:00 GMT", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "today", None),
        ("-1", None, None),
        ("soon", "Wed, 21 Oct 2026 08:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(
    header: str | None, date: str | None, seconds: float | None
) -> None:
    assert retry_after_s(header, date) == seconds


def test_retry_after_beyond_the_budget_is_an_error_at_once() -> None:
    clock = _Clock()
    steps = Caller(["http://a"], tries=4, rng=_Highest(), clock=clock, within_s=60).call(
        "GET", "/", Job
    )
    next(steps)
    with pytest.raises(ApiProblem) as refused:
        steps.send(Response(429, b"{}", 3_600.0))
    assert refused.value.retry_after_s == 3_600


def test_retries_end_when_the_time_is_up() -> None:
    clock = _Clock()
    steps = Caller(["http://a"], tries=1_000, rng=_Highest(), clock=clock, within_s=60).call(
        "GET", "/", Job
    )
    with pytest.raises(Unreachable):
        _finished(steps, clock, lambda _request: Failure("cut"), each_takes_s=10)
    assert clock.now_s <= 80


@pytest.mark.finding("D13")
@pytest.mark.parametrize(
    "interruption",
    [
        Failure("cut by the draining node"),
        Response(500, b"Internal Server Error"),
        Response(502, b"<html>"),
        Response(503, b'{"status": 503, "code": "draining", "title": "", "type": ""}', 0.0),
        Response(404, b"default backend - 404"),
        Response(200, b"<html>log in</html>"),
        Response(302, b""),
    ],
)
def test_wait_continues_over_a_restart(interruption: Response | Failure) -> None:
    clock = _Clock()
    steps = requests.wait(_caller(clock), "j", for_end=False, timeout_s=3_600)
    assigned = Response(200, json.dumps(a_job_resource(state="assigned")).encode())
    answers = iter([interruption] * 30 + [assigned])
    assert _finished(steps, clock, lambda _request: next(answers)).state == "assigned"


@pytest.mark.finding("D13")
def test_wait_does_not_outlive_a_refusal() -> None:
    steps = requests.wait(_caller(_Clock()), "j", for_end=False, timeout_s=3_600)
    next(steps)
    with pytest.raises(ApiProblem):
        steps.send(Response(404, json.dumps(NOT_FOUND).encode()))


def test_wait_ends_in_time_without_answers() -> None:
    clock = _Clock()
    steps = requests.wait(_caller(clock), "j", for_end=False, timeout_s=30)
    with pytest.raises(Unreachable):
        _finished(steps, clock, lambda _request: Failure("refused"), each_takes_s=1)
    assert clock.now_s < 60


@pytest.mark.parametrize("url", ["", "engine:8000", "ws://engine"])
def test_address_that_can_never_work_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not the address"):
        Caller([url], rng=_Highest())


@pytest.mark.finding("D10")
def test_list_filters_are_sent_as_the_contract_names_them() -> None:
    at = datetime(2026, 11, 22, 16, 10, tzinfo=timezone(timedelta(hours=-7)))
    text = "2026-11-22T16:10:00-07:00"
    filters: JobFilter = {
        "state": ["queued", "offered"],
        "created_from": at,
        "created_to": at,
        "updated_since": at,
    }
    request = next(requests.page(_caller(_Clock()), **filters))
    assert isinstance(request, Request)
    assert request.params == {
        "state": "queued,offered",
        "created_from": text,
        "created_to": text,
        "updated_since": text,
    }
    one = next(requests.page(_caller(_Clock()), state="queued", cursor="01J"))
    assert isinstance(one, Request)
    assert one.params == {"state": "queued", "cursor": "01J"}
