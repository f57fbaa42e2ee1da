"""Rules: the risk of each open job is looked at before it may change, and by a late sweeper."""

import math
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_protocol.lifecycle import Step
from tests.properties.machine import How, how_often, some_driver, some_node
from tests.properties.risks import risk_at
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.jobs.run import who_first
from tests.properties.rules.operation.hours import HoursRules
from tests.properties.world import MARKET

_MOST = 2


class RiskRules(HoursRules):
    """Rules for the sweeper of risks."""

    @rule(node=some_node, most=st.sampled_from((1, 1, 100)), how=how_often)
    def risks_are_looked_at(self, node: str, most: int, how: How) -> None:
        """A sweeper looks at risks that are due, possibly not at all of them."""
        due = self.call(
            "risks due",
            "ok",
            lambda store: store.deadlines.risks_due(MARKET, _MOST),
            node=node,
        )
        assert due is not None
        for name in due[:most]:
            self.look_at_risk(name, node, how)

    @precondition(lambda self: self.seen.risks)
    @rule(nth=st.integers(0, 3), off_by=st.sampled_from((-1, 0, 0, 1)), how=how_often)
    def a_risk_comes_to_its_limit(self, nth: int, off_by: int, how: How) -> None:
        """A job is looked at when its risk may change, or a millisecond before or after it."""
        names = sorted(self.seen.risks, key=lambda name: self.seen.risks[name])
        name = names[nth % len(names)]
        self.time_to(self.seen.risks[name], off_by)
        self.look_at_risk(name, "n1", how)

    @precondition(lambda self: self.in_time())
    @rule(nth=st.integers(0, 3), drivers=who_first, how=how_often)
    def a_job_in_time_changes_hands(self, nth: int, drivers: Sequence[str], how: How) -> None:
        """An operator assigns a job to another driver after its ETA has said that it is in time."""
        names = self.in_time()
        name = names[nth % len(names)]
        self.time_to(self.seen.risks[name])
        self.look_at_risk(name)
        others = [driver for driver in drivers if driver != self.model.jobs[name].holder]
        self.assign(name, min(others, key=self._holds_something), how)

    @rule(driver=some_driver, how=how_often)
    def a_transfer_waits_for_long(self, driver: str, how: How) -> None:
        """Nobody takes what a driver hands over until shortly before the end of the transfer."""
        name = self.begin(driver, Order())
        if not name:
            return
        job = self.model.jobs[name]
        self.step(name, driver, job.attempt, Step.PICKED_UP)
        transfer = self.transfer(driver, [name])
        if transfer in self.model.jobs:
            self.time_passes(3_500_000)
            self.look_at_risk(transfer, how=how)

    def in_time(self) -> list[str]:
        """Jobs on the way whose risk is looked at."""
        jobs = self.model.jobs.items()
        return [name for name, job in jobs if job.state == "assigned" and name in self.seen.risks]

    def look_at_risk(self, name: str, node: str = "n1", how: How = "once") -> None:
        """Look at a risk, due or not."""
        job = self.seen.jobs[name]
        is_open = not job.terminal
        risk = risk_at(job, self.now, self.policy) if is_open else job.risk
        self.call(
            f"risk of {name}",
            risk.value if risk != job.risk else "same",
            lambda store: store.deadlines.look_at_risk(name),
            node=node,
            how=how,
            read=lambda changed: changed.value if changed else "same",
            again="same",
        )
        assert not is_open or self.seen.jobs[name].risk == risk, f"{name} is not {risk}"
        at = self.seen.risks.get(name, math.inf)
        assert at > self.now, f"{name} is looked at again at once"
