"""The state machine with all rules."""

from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from mallard_protocol.lifecycle import HELD
from tests.properties.machine import DRIVERS, How, StoreMachine, how_often, recent
from tests.properties.rules.drivers.holder import next_step
from tests.properties.rules.jobs.job import Order, orders
from tests.properties.rules.operation.repair import RepairRules
from tests.properties.world import NODES

# The number of steps of a job: offered, accepted, arrived, on board.
hops = st.sampled_from((1, 1, 2, 2, 3, 4, 0))


class Mallard(RepairRules):
    """The state machine of the tests."""

    @initialize(orders=st.lists(st.tuples(orders, hops), min_size=2, max_size=4))
    def a_day_begins(self, orders: list[tuple[Order, int]]) -> None:
        """All drivers are available, and some jobs are in progress."""
        for node in NODES:
            self.node_beats(node)
        for number, driver in enumerate(DRIVERS):
            self.comes_to_work(driver, NODES[number % 2])
        for order, hops in orders:
            self.submit(order)
            if self.model.jobs:
                self.a_job_goes_on(0, hops)

    @precondition(lambda self: self.model.jobs)
    @rule(back=recent, hops=hops)
    def a_job_goes_on(self, back: int, hops: int) -> None:
        """Advance a job by normal steps, so that failures start from every state."""
        name = self.job_at(back, {"queued", "offered", "assigned"})
        job = self.model.jobs[name]
        for _ in range(hops):
            if job.state == "queued":
                self.round(job.mall)
            elif job.state == "offered":
                self.accept(job.offer, self.model.offers[job.offer].driver)
            elif job.state in HELD:
                self.step(name, job.holder, job.attempt, next_step(job))

    @precondition(lambda self: self.model.live() or self.asked_before())
    @rule(back=recent, first_decline=st.booleans(), how=how_often)
    def asked_drivers_are_free_again(self, back: int, first_decline: bool, how: How) -> None:
        """Drivers who were asked are free again and first in a plan for the same job."""
        live = self.model.live()
        if live and first_decline:
            offer = live[-1 - back % len(live)]
            self.decline(offer, self.model.offers[offer].driver, "n2", how)
        jobs = self.asked_before()
        if not jobs:
            return
        name = jobs[-1 - back % len(jobs)]
        job = self.model.jobs[name]
        asked = list(dict.fromkeys(driver for driver, *_ in job.asked))
        free_ms = max((d.cool for n, d in self.model.drivers.items() if n in asked), default=0)
        self.time_to(free_ms)
        for driver in asked:
            self.comes_to_work(driver, "n1")
        self.sweep("n1", how)
        self.offer(name, job.attempt, asked, how)

    def asked_before(self) -> list[str]:
        """Jobs that are queued again after an offer."""
        jobs = self.model.jobs.items()
        return [name for name, job in jobs if job.state == "queued" and job.asked]


def focused(*classes: type[StoreMachine]) -> type[Mallard]:
    """The machine with the rules of these classes and its own: fewer rules, each of them more
    often."""
    kept = {name for each in (*classes, Mallard) for name in vars(each)}
    others = {
        each.function.__name__: each.function
        for each in Mallard.setup_state().rules
        if each.function.__name__ not in kept
    }
    return cast("type[Mallard]", type("Focused", (Mallard,), others))
