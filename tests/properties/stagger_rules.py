"""Rounds that ask several drivers: begun, gone on with, answered by rivals."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from engine.core.acceptance import CELLS
from engine.core.model import RankedDriver, RoundRecord
from engine.ports import DueEntry, MoreOffers, OfferPlan, PlannedJob
from tests.properties.handover_rules import HandoverRules
from tests.properties.job_rules import JobRules
from tests.properties.machine import DRIVERS, How, how_often, recent


class StaggerRules(JobRules, HandoverRules):
    """Several drivers, one attempt, one winner."""

    @precondition(lambda self: any(job.state == "queued" for job in self.model.jobs.values()))
    @rule(
        back=recent,
        drivers=st.permutations(DRIVERS),
        most=st.sampled_from((2, 3, 3)),
        gap=st.sampled_from((0, 1_000, 1_000, 5_000)),
        old=st.sampled_from((0, 0, 0, 1)),
        how=how_often,
    )
    def a_staggered_round_begins(
        self, back: int, drivers: list[str], most: int, gap: int, old: int, how: How
    ) -> None:
        name = self.job_at(back, {"queued"})
        attempt = self.model.jobs[name].attempt - old
        self.begin_round(name, attempt, drivers, most, gap, how)

    def begin_round(
        self,
        name: str,
        attempt: int,
        drivers: Sequence[str],
        most: int = 3,
        gap: int = 1_000,
        how: How = "once",
    ) -> None:
        ids = [f"o{len(self.offers) + n}" for n in range(most)]
        cell = len(self.offers) % CELLS if len(self.offers) % 5 else None
        eta = (self.now, self.now)
        expected, taker = self.model.begin_round(ids, name, attempt, drivers, gap, eta, cell)
        ranked = tuple(
            RankedDriver(driver, True, None, 1.0, (), 60, 500, "gate-1", *eta, cell)
            for driver in drivers
        )
        record = RoundRecord(name, attempt + 1, self.now, 1_000, False, ranked)
        plan = OfferPlan(
            ids[0], self.model.jobs[name].mall, (PlannedJob(name, attempt, record),), ranked
        )
        plan = replace(plan, more=MoreOffers(most, gap, tuple(ids[:0:-1])))
        offered = self.call(
            f"offer {ids[0]} of {name}/{attempt} to {most} of {','.join(drivers)}, {gap} ms apart",
            expected,
            lambda store: store.offer(plan),
            how=how,
            read=lambda offered: offered.verdict,
            again=expected,
        )
        assert offered is None or offered.driver == taker
        if expected == "offered":
            self.offers += [offer for offer in ids if offer not in self.offers]

    @precondition(lambda self: self.model.rounds)
    @rule(back=recent, off_by=st.sampled_from((-1, 0, 0, 1)), how=how_often)
    def the_next_is_asked(self, back: int, off_by: int, how: How) -> None:
        """When its time has come, or a millisecond beside it."""
        name = self.round_at(back)
        self.time_to(self.model.rounds[name].next, off_by)
        self.offer_more(name, how)

    @precondition(lambda self: self.model.rounds)
    @rule(
        back=recent,
        answers=st.lists(
            st.sampled_from(("accept", "accept", "decline", "ack", "withdraw")),
            min_size=2,
            max_size=3,
        ),
        last_first=st.booleans(),
        how=how_often,
    )
    def rivals_answer(self, back: int, answers: list[str], last_first: bool, how: How) -> None:
        """Everybody who is asked answers in the same millisecond, by turns on both nodes."""
        name = self.round_at(back)
        for _ in range(2):
            self.time_to(self.model.rounds[name].next)
            self.offer_more(name)
        live = [*self.model.rounds[name].live]
        if last_first:
            live.reverse()
        for n, (offer, verb) in enumerate(zip(live, answers, strict=False)):
            driver, node = self.model.offers[offer].driver, ("n1", "n2")[n % 2]
            if verb == "accept":
                self.accept(offer, driver, node, how)
            elif verb == "decline":
                self.decline(offer, driver, node, how)
            elif verb == "ack":
                self.offer_ack(offer, driver, how)
            elif verb == "withdraw":
                self.withdraw(offer, how)

    def round_at(self, back: int) -> str:
        return list(reversed(self.model.rounds))[back % len(self.model.rounds)]

    def offer_more(self, name: str, how: How = "once") -> None:
        job = self.model.jobs[name]
        self._offer_more(DueEntry(f"more/{job.mall}/{name}", "more", name, job.mall), how)

    def _offer_more(self, entry: DueEntry, how: How) -> None:
        expected = self.model.offer_more(entry.id)
        self.call(
            f"ask more of {entry.id}",
            expected,
            lambda store: store.offer_more(entry),
            how=how,
            read=lambda offered: offered.verdict,
        )

    def _carry_out(self, entry: DueEntry, how: How) -> None:
        if entry.kind == "more":
            self._offer_more(entry, how)
        else:
            super()._carry_out(entry, how)

    def _limits(self) -> list[int]:
        return super()._limits() + [several.next for several in self.model.rounds.values()]
