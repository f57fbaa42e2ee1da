"""Rules: a connected holder is stuck on its way, and its job is reassigned or stays.

The job may come from a round that asked several drivers, whose losers are then asked next.
"""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.properties.machine import How, StoreMachine, how_often
from tests.properties.rules.jobs.run import how_it_ends, rarely, some_mall, who_first
from tests.properties.rules.jobs.stagger import StaggerRules


def reassigns_stuck(machine: StoreMachine) -> bool:
    """Whether the market reassigns jobs of connected drivers."""
    return machine.policy.stuck_after_s > 0


class StuckRules(StaggerRules):
    """Rules for reassignments from connected drivers who make no progress."""

    @precondition(reassigns_stuck)
    @rule(
        mall=some_mall,
        drivers=who_first,
        several=st.booleans(),
        old=st.sampled_from((0, 0, 0, 1)),
        meanwhile=st.sampled_from(("", "", "", "is lost", "arrives", "gives up")),
        again=rarely,
        ends=how_it_ends,
        how=how_often,
    )
    def a_run_is_stuck(
        self,
        mall: str,
        drivers: Sequence[str],
        several: bool,
        old: int,
        meanwhile: str,
        again: bool,
        ends: str,
        how: How,
    ) -> None:
        """``several``: the job's round asked two drivers. ``meanwhile``: what the holder does
        between the check and the reassignment. ``again``: the next holder is stuck as well."""
        name, losers = self._accepted_job(mall, drivers, several)
        for turn in range(1 + again):
            job = self.model.jobs[name]
            holder, attempt = job.holder, job.attempt
            if job.state != "assigned":
                return
            self.time_passes(90_000)
            self.sweep()
            plan = sorted((d for d in drivers if d != holder), key=self._holds_something)
            self._make_free(plan[0])
            if meanwhile == "is lost":
                self.disconnect(holder)
            elif meanwhile:
                step = "at_mall" if meanwhile == "arrives" else "give_up"
                self.step(name, holder, attempt, step)
            out = len(self.offers)
            self.hand_over_stuck(name, holder, attempt - old, plan, how)
            for offer in losers:
                self.accept(offer, self.model.offers[offer].driver, "n2")
            for offer in self.offers[out:]:
                self._ends(offer, "accepted" if again and turn == 0 else ends, how)

    def hand_over_stuck(
        self, name: str, holder: str, attempt: int, drivers: Sequence[str], how: How = "once"
    ) -> None:
        """Reassign like the sweeper when it found the holder connected and late."""
        self.hand_over(name, attempt, [holder, *drivers], how, stuck=holder)

    def _accepted_job(
        self, mall: str, drivers: Sequence[str], several: bool
    ) -> tuple[str, list[str]]:
        """An accepted job, if possible, and the offers that lost it."""
        (name,) = self._waiting(mall, 1)
        free = [driver for driver in drivers if not self._holds_something(driver)]
        for driver in free[: 1 + several]:
            self._make_free(driver)
        job = self.model.jobs[name]
        if job.state != "queued" or not free:
            return name, []
        if several:
            self.begin_round(name, job.attempt, free, 2, gap=0)
        else:
            self.offer(name, job.attempt, free)
        if name in self.model.rounds:
            self.offer_more(name)
        if job.state != "offered":
            return name, []
        offer = job.offer
        losers = sorted(self.model.offers_of(job) - {offer})
        self.accept(offer, self.model.offers[offer].driver)
        return name, losers
