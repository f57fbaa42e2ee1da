"""All rules together: a day at the malls."""

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from protocol.lifecycle import HELD
from tests.properties.driver_rules import next_step
from tests.properties.job_rules import JobRules, Order, orders
from tests.properties.machine import DRIVERS, How, how_often, recent
from tests.properties.time_rules import TimeRules
from tests.properties.world import NODES

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

    @precondition(lambda self: any(job.asked for job in self.model.jobs.values()))
    @rule(back=recent, how=how_often)
    def whoever_was_asked_is_free_again(self, back: int, how: How) -> None:
        """And is planned for the same job, first of all; who may not be asked again is passed."""
        name = self.job_at(back, {"queued"})
        job = self.model.jobs[name]
        asked = list(dict.fromkeys(driver for driver, *_ in job.asked))
        free_ms = max((d.cool for n, d in self.model.drivers.items() if n in asked), default=0)
        self.time_to(free_ms)
        self.everybody_reports()
        self.sweep("n1", how)
        self._offer(name, job.attempt, asked, how)
