"""The real scripts under random interleavings of two nodes' calls, against a small model.

``MALLARD_TEST_DEEP=1`` looks for minutes and differently each time; without it the run is always
the same. A failure prints the story that led to it; the same rules called one after the other on a
``Mallard`` replay it (see ``test_stories.py``).
"""

import os
from typing import cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from protocol.lifecycle import HELD
from tests.properties.driver_rules import next_step
from tests.properties.job_rules import JobRules, Order, orders
from tests.properties.machine import DRIVERS, recent
from tests.properties.time_rules import TimeRules
from tests.properties.world import NODES

DEEP = os.environ.get("MALLARD_TEST_DEEP") == "1"
QUICK = settings(
    max_examples=150,
    stateful_step_count=50,
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
LONG = settings(
    QUICK,
    max_examples=5_000,
    stateful_step_count=80,
    derandomize=False,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


# How far a job has got: offered, accepted, arrived, on board.
hops = st.integers(0, 4)


class Mallard(JobRules, TimeRules):
    """All rules together."""

    @initialize(orders=st.lists(st.tuples(orders, hops), max_size=4))
    def a_day_begins(self, orders: list[tuple[Order, int]]) -> None:
        """Everybody is at work, and some jobs are under way."""
        for node in NODES:
            self.node_beats(node)
        for number, driver in enumerate(DRIVERS):
            self.comes_to_work(driver, NODES[number % 2])
        for order, hops in orders:
            self.submit(order, "once")
            if self.model.jobs:
                self.a_job_goes_on(0, hops)

    @precondition(lambda self: self.model.jobs)
    @rule(back=recent, hops=hops)
    def a_job_goes_on(self, back: int, hops: int) -> None:
        """What happens to it on a good day, so that the bad days begin everywhere."""
        name = self.job_at(back, {"queued", "offered", "assigned"})
        job = self.model.jobs[name]
        for _ in range(hops):
            if job.state == "queued":
                self.round(job.mall, "once")
            elif job.state == "offered":
                self._accept(job.offer, self.model.offers[job.offer].driver, "n1", "once")
            elif job.state in HELD:
                self._progress(name, job.holder, job.attempt, next_step(job), True, "n1", "once")


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_the_store_keeps_its_word(redis_url: str) -> None:
    make = cast("type[Mallard]", lambda: Mallard(redis_url))  # a factory will do
    run_state_machine_as_test(make, settings=LONG if DEEP else QUICK)
