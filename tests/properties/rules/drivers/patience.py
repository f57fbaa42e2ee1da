"""Rules: limits that fit the slack of a job come to their end."""

import math

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_protocol.lifecycle import NOT_ASKED_FOR_A_WHILE
from tests.properties.machine import DRIVERS, How, how_often, recent
from tests.properties.rules.drivers.stuck import StuckRules
from tests.properties.rules.jobs.job import Order


class PatienceRules(StuckRules):
    """Rules for drivers who are asked again, and for holders who are silent for long."""

    @precondition(lambda self: self.model.live() or self.barred_for_a_while())
    @rule(back=recent, off_by=st.sampled_from((-1, 0, 0, 1)), how=how_often)
    def a_bar_ends(self, back: int, off_by: int, how: How) -> None:
        """Drivers who refused a job are planned for it when their bars end."""
        live = self.model.live()
        if live and not self.barred_for_a_while():
            offer = live[-1 - back % len(live)]
            self.decline(offer, self.model.offers[offer].driver, "n2", how)
        jobs = self.barred_for_a_while()
        if not jobs:
            return
        name = jobs[-1 - back % len(jobs)]
        job = self.model.jobs[name]
        ends = [self.model.bar_end(job, turn) for turn in job.asked]
        coming = [int(end) for end in ends if self.now < end < math.inf]
        self.time_to(min(coming, default=self.now), off_by)
        asked = list(dict.fromkeys(driver for driver, *_ in job.asked))
        for driver in asked:
            self.comes_to_work(driver, "n1")
        self.offer(name, job.attempt, asked, how)

    @rule(most=st.sampled_from((900, 970, 970, 2_000)), how=how_often)
    def every_driver_declines(self, most: int, how: How) -> None:
        """The pay of a job rises with each refusal, to the most that its order allows."""
        self.submit(Order(pay=(900, most)))
        name = self.job_at(0)
        job = self.model.jobs[name]
        for driver in DRIVERS:
            self.comes_to_work(driver, "n1")
            if job.state == "queued":
                self.offer(name, job.attempt, [driver])
            offer = self.model.drivers[driver].offer
            if offer in self.model.live() and job.state == "offered":
                self.decline(offer, driver, "n2", how)

    def barred_for_a_while(self) -> list[str]:
        """Queued jobs for which a driver will be asked again later."""
        return [
            name
            for name, job in self.model.jobs.items()
            if job.state == "queued"
            and any(
                turn[2] in NOT_ASKED_FOR_A_WHILE and self.model.bar_end(job, turn) > self.now
                for turn in job.asked
            )
        ]
