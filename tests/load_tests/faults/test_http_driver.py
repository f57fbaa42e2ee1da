"""Drivers of the failover test that report over HTTP."""

import json
from typing import Any

import httpx2
import pytest

from load_tests.faults import http_driver
from load_tests.faults.http_driver import HttpApp
from load_tests.faults.outage import Seen

HELD = {"job": "j", "attempt": 1, "state": "assigned"}


async def carried_out(*answers: httpx2.Response) -> tuple[Seen, list[tuple[str, Any]]]:
    """Let a driver carry out a job, and return what it saw and sent."""
    seen, sent, left = Seen(), list[tuple[str, Any]](), list(answers)

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append((str(request.url), json.loads(request.content)))
        return left.pop(0)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        app = HttpApp(http, "token", seen)
        app.use(["http://a", "http://b"])
        await app.carry_out(HELD)
    assert not left
    return seen, sent


def refusal(status: int, code: str) -> httpx2.Response:
    return httpx2.Response(status, json={"code": code}, headers={"Retry-After": "1"})


async def test_step_is_repeated_at_the_other_node_until_it_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_driver, "_LONGEST_WAIT_S", 0.0)
    taken = httpx2.Response(200, json={"attempt": 2})
    seen, sent = await carried_out(refusal(503, "store_unavailable"), taken, taken)
    path = "/v1/driver/jobs/j/progress"
    assert sent == [
        (f"http://a{path}", {"attempt": 1, "step": "picked_up"}),
        (f"http://b{path}", {"attempt": 1, "step": "picked_up"}),
        (f"http://a{path}", {"attempt": 2, "step": "delivered"}),
    ]
    assert (seen.put_off, seen.delivered, seen.refused) == (1, {"j"}, [])


async def test_step_that_is_refused_for_good_is_noted_and_ends_the_job() -> None:
    seen, _ = await carried_out(refusal(409, "wrong_state"))
    assert (seen.refused, seen.delivered) == ([("j", "picked_up: wrong_state")], set())


def test_job_that_two_drivers_deliver_is_noted() -> None:
    seen = Seen()
    for driver in ("ann", "ann", "bob"):
        assert not seen.delivered_twice
        seen.deliver("j", driver)
    assert seen.delivered_twice == {"j"}
