"""Rules: a silent holder's job is reassigned in one step, or stays if it is no longer silent."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.core.model import RankedDriver, RoundRecord
from mallard_engine.ports import LateJob, OfferPlan, PlannedJob
from tests.properties.machine import DRIVERS, How, how_often, recent
from tests.properties.rules.drivers.clock import TimeRules


class ReassignmentRules(TimeRules):
    @precondition(lambda self: any(job.state == "assigned" for job in self.model.jobs.values()))
    @rule(
        back=recent,
        drivers=st.permutations(DRIVERS),
        old=st.sampled_from((0, 0, 0, 1)),
        later=st.sampled_from((0, 0, 1)),
        how=how_often,
    )
    def a_late_run(self, back: int, drivers: list[str], old: int, later: int, how: How) -> None:
        """Reassign a job of a silent holder, just before or at the limit."""
        name = self.job_at(back, {"assigned"})
        holder = self.model.drivers.get(self.model.jobs[name].holder)
        if holder is not None and not holder.connected:
            self.time_to(holder.lost + self.model.resume_ms, -later)
            self.hand_over(name, self.model.jobs[name].attempt - old, drivers, how)

    def hand_over(
        self,
        name: str,
        attempt: int,
        drivers: Sequence[str],
        how: How = "once",
        lost: int = 0,
        stuck: str = "",
    ) -> None:
        """``lost``: since when the sweeper saw the holder silent; ``stuck``: the holder that it saw
        connected and late."""
        job, offer = self.model.jobs[name], f"o{len(self.offers)}"
        holder = stuck or job.holder
        lost = 0 if stuck else lost or self.model.drivers[holder].lost
        expected, taker = self.model.hand_over(offer, name, attempt, holder, lost, drivers)
        ranked = tuple(
            RankedDriver(driver, True, None, 1.0, (), 60, 500, "gate-1", self.now, self.now)
            for driver in drivers
        )
        record = RoundRecord(name, attempt + 2, self.now, 1_000, False, ranked)
        plan = OfferPlan(offer, job.mall, (PlannedJob(name, attempt, record),), ranked)
        late = LateJob(job.mall, name, holder, attempt, lost)
        handed = self.call(
            f"reassign {name}/{attempt} from {holder} to {','.join(drivers)}",
            expected,
            lambda store: store.offers.reassign(late, plan),
            how=how,
            read=lambda handed: handed.verdict,
            again=expected,
        )
        if expected == "offered":
            self.offers.append(offer)
            assert handed is None or handed.driver == taker
