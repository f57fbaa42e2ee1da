"""Calls as steps: what is asked and when, without a server and without time."""

import json
import random

import pytest

from clients.calls import Caller, Failure, Pause, Request, Response, Steps, retry_after_s
from clients.errors import Unreachable
from clients.order_calls import OrderCalls
from protocol.resources import Job
from tests.clients.http_counterpart import a_job_resource


class _Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class _Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def _calls(clock: _Clock) -> OrderCalls:
    return OrderCalls(Caller(["http://a", "http://b"], tries=4, dice=_Highest()), clock)


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


def test_wait_asks_again_at_once_when_the_server_has_waited() -> None:
    clock = _Clock()
    steps = _calls(clock).wait("j", for_end=False, timeout_s=60)
    job, log = _walk(steps, clock, ("queued", 20), ("offered", 20), ("assigned", 3))
    assert job.state == "assigned"
    assert log == ["ask 20 within 30"] * 3


def test_wait_for_the_end_does_not_hammer_the_server() -> None:
    clock = _Clock()
    steps = _calls(clock).wait("j", for_end=True, timeout_s=60)
    job, log = _walk(steps, clock, ("assigned", 0), ("picked_up", 0), ("delivered", 0))
    assert job.terminal
    assert [entry for entry in log if entry.startswith("pause")] == ["pause 1", "pause 1"]


def test_wait_gives_up_in_time() -> None:
    clock = _Clock()
    steps = _calls(clock).wait("j", for_end=False, timeout_s=25)
    job, log = _walk(steps, clock, ("queued", 20), ("queued", 5))
    assert job.state == "queued"
    assert log == ["ask 20 within 30", "ask 5 within 15"]


def test_waits_grow_respect_the_servers_wish_and_avoid_a_silent_server() -> None:
    steps = _calls(_Clock()).get("j")
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
    ("header", "seconds"),
    [("3", 3.0), ("0", 0.0), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds
