"""How a swarm counts what its workers log late."""

import time
from typing import cast

import pytest

from load_tests.credentials import Credentials
from load_tests.drivers.recorder import EventKind
from load_tests.measurements import Measure
from load_tests.swarm import coordinator
from load_tests.swarm.coordinator import Swarm, _Worker
from load_tests.swarm.event_log import Event
from load_tests.swarm.plan import SwarmPlan


class LateWorker:
    """A worker whose log is asked for; an offer is in the third one, although it came at once."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._due_s = 0.0
        self._logs = 0
        self.drivers = self.online = 1
        self.cpu_s = self.logged_until_s = 0.0
        self.writer = None

    def log(self) -> None:
        self._logs += 1
        events: list[Event] = []
        if self._logs == 1:
            self._due_s = time.monotonic() + 0.01
        elif self._logs == 2:
            events = [(self._due_s, EventKind.POSTED, "j", self._due_s, Measure.POST_JOB)]
        elif self._logs == 3:
            events = [(self._due_s + 0.001, EventKind.OFFERED, "j")]
        self.logged_until_s = time.monotonic()
        log = {"until_s": self.logged_until_s, "counts": {}, "samples": [], "events": events}
        self._swarm._accounting.take(0, log)


async def test_offer_that_is_logged_late_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = SwarmPlan(urls=("http://127.0.0.1:1",), drivers=1, grace_s=0.1)
    swarm = Swarm(plan, Credentials(secret="a secret of this test alone, never used"))
    worker = LateWorker(swarm)
    swarm._workers.append(cast("_Worker", worker))

    def answered(_writer: object, kind: str, _what: object = None) -> None:
        if kind == "send_log":
            worker.log()

    monkeypatch.setattr(coordinator, "send", answered)
    result = await swarm.phase(rate=1.0, seconds=0.05)
    assert result.histograms[Measure.OFFER.value].count == 1
    assert result.failed_share(Measure.OFFER) == 0, result.counts
