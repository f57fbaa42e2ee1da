"""Rules: nodes and drivers come back with what they knew, after others have gone on.

Each rule is a sequence of calls that random single calls rarely produce.
"""

from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_protocol.lifecycle import BEFORE_PICKUP, Step
from tests.properties.machine import How, how_often, recent, some_driver, some_node
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.jobs.packing import PackingRules
from tests.properties.world import NODES

_FROZEN_MS = 1_500
Move = Literal["", "moves", "moves and leaves"]


class ComebackRules(PackingRules):
    """Rules for frozen nodes, and for drivers with an attempt of the past."""

    @rule(first=some_driver, second=some_driver, how=how_often)
    def a_run_is_offered_that_another_claims(self, first: str, second: str, how: How) -> None:
        """A failover has lost the accept of another driver, who has one of the jobs on board."""
        for _ in range(2):
            self.submit(Order())
        runs = {self.job_at(nth): self.model.jobs[self.job_at(nth)].attempt for nth in (1, 0)}
        self.comes_to_work(first, "n1")
        self.offer_run(runs, [first])
        self.time_passes(1)
        self.lost_writes_are_noticed()
        self.claim(next(iter(runs)), second, 5, "picked_up", how)

    @rule(
        node=some_node,
        move=st.sampled_from(("", "moves", "moves and leaves")),
        nth=recent,
        resumes=st.sampled_from((True, True, False)),
        how=how_often,
    )
    def a_frozen_node_returns(
        self, node: str, move: Move, nth: int, how: How, *, resumes: bool
    ) -> None:
        """A node is reaped while it still holds its sockets. ``move``: what one of its drivers does
        meanwhile at the other node. ``resumes``: it returns in time for its drivers."""
        here = [driver for driver, (at, _) in self.sockets.items() if at == node]
        self.node_dies(node)
        self.time_passes(_FROZEN_MS, reports=False)
        self.reap(node)
        if here and move:
            driver = here[nth % len(here)]
            held = self.sockets[driver]
            self.hello(driver, NODES[1 - NODES.index(node)])
            if move == "moves and leaves":
                self.disconnect(driver)
            self.sockets[driver] = held  # as the frozen node sees it
        if not resumes:
            self.time_passes(self.model.resume_ms + 1, reports=False)
        self.node_beats(node)
        self.take_back(node, how)

    @precondition(lambda self: self.model.live() or self.with_turns())
    @rule(
        back=recent,
        nth=recent,
        declines=st.booleans(),
        lost=st.booleans(),
        state=st.sampled_from(("picked_up", "picked_up", "delivered")),
        how=how_often,
    )
    def a_past_turn_is_claimed(
        self, back: int, nth: int, state: str, how: How, *, declines: bool, lost: bool
    ) -> None:
        """A driver claims a parcel by the attempt of a turn that is over, of any outcome, possibly
        after writes were lost."""
        live = self.model.live()
        if live and (declines or not self.with_turns()):
            offer = live[-1 - back % len(live)]
            self.decline(offer, self.model.offers[offer].driver)
        names = self.with_turns()
        if not names:
            return
        name = names[-1 - back % len(names)]
        turns = self.model.jobs[name].asked
        driver, attempt, *_ = turns[-1 - nth % len(turns)]
        if lost:
            self.time_passes(1)
            self.lost_writes_are_noticed()
        if driver in self.model.drivers:
            self.claim(name, driver, attempt, state, how)

    def with_turns(self) -> list[str]:
        """Jobs before pickup for which a turn is over."""
        jobs = self.model.jobs.items()
        return [name for name, job in jobs if job.asked and job.state in BEFORE_PICKUP]

    @precondition(lambda self: self.with_former())
    @rule(
        back=recent,
        nth=recent,
        step=st.sampled_from((Step.AT_MALL, Step.AT_MALL, Step.PICKED_UP, Step.GIVE_UP)),
        how=how_often,
    )
    def it_has_the_job_again(self, back: int, nth: int, step: Step, how: How) -> None:
        """A former holder is assigned the job once more, and reports under its old attempt."""
        names = self.with_former()
        name = names[-1 - back % len(names)]
        former = sorted(self.model.jobs[name].former, key=lambda turn: -turn[1])
        driver, attempt = former[nth % len(former)]
        self.assign(name, driver)
        self.step(name, driver, attempt, step, how=how)

    def with_former(self) -> list[str]:
        """Jobs before pickup that a driver has lost."""
        jobs = self.model.jobs.items()
        return [name for name, job in jobs if job.former and job.state in BEFORE_PICKUP]
