"""Rules for staggered rounds, in which several drivers compete for a job."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.core.matching.acceptance import CELLS
from mallard_engine.core.model import RankedDriver, RoundRecord
from mallard_engine.ports import DueEntry, DueKind, MoreOffers, OfferPlan, PlannedJob
from tests.properties.machine import DRIVERS, How, how_often, recent
from tests.properties.rules.jobs.run import RunRules, rarely, some_mall

ENDS = (
    *("accepted", "accepted", "declined", "declined", "unacknowledged", "expired", "withdrawn"),
    *("cancelled", "assigned", "over", "too early"),
)


class StaggerRules(RunRules):
    """Rules for rounds with several drivers, one attempt and one winner."""

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
            lambda store: store.offers.make(plan),
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
        """Ask the next driver at its time, or a millisecond earlier or later."""
        name = self.round_at(back)
        self.time_to(self.model.rounds[name].next, off_by)
        self.offer_more(name, how)

    @rule(
        mall=some_mall,
        drivers=st.permutations(DRIVERS),
        most=st.sampled_from((2, 2, 3)),
        asks=st.sampled_from((0, 1, 1, 2)),
        collected=rarely,
        ends=st.sampled_from(ENDS),
        nth=st.sampled_from((0, -1)),
        how=how_often,
    )
    def a_staggered_round(
        self,
        mall: str,
        drivers: Sequence[str],
        most: int,
        asks: int,
        collected: bool,
        ends: str,
        nth: int,
        how: How,
    ) -> None:
        """A complete round: free drivers are asked, and the first or the last of them ends it.
        `collected`: a driver held the job before and claims custody."""
        (name,) = self._waiting(mall, 1)
        free = [driver for driver in drivers if not self._holds_something(driver)]
        if collected and free and (held := self._held_before(name, free.pop())):
            name, former, attempt = held
        else:
            former, attempt = "", 0
        for driver in free[:most]:
            self._make_free(driver)
        if self.model.jobs[name].state != "queued":
            return
        self.begin_round(name, self.model.jobs[name].attempt, free or drivers, most, how=how)
        for _ in range(asks):
            if name in self.model.rounds:
                self.time_to(self.model.rounds[name].next)
                self.offer_more(name, how)
        if name not in self.model.rounds:
            return
        if former:
            self.step(name, former, attempt, "picked_up", how=how)
        else:
            self._round_ends(name, ends, nth, how)

    def _held_before(self, name: str, driver: str) -> tuple[str, str, int] | None:
        """Assign and unassign the job; return it, its former holder and the attempt."""
        self._make_free(driver)
        self.assign(name, driver)
        job = self.model.jobs[name]
        if job.holder != driver:
            return None
        attempt = job.attempt
        self.unassign(name, attempt)
        return name, driver, attempt

    def _round_ends(self, name: str, ends: str, nth: int, how: How) -> None:
        """End the round by its nth driver or by a command on the job; then the others accept, and
        the next driver would be asked."""
        job, live = self.model.jobs[name], [*self.model.rounds[name].live]
        offer = live.pop(nth)
        out = self.model.offers[offer]
        match ends:
            case "accepted":
                self.accept(offer, out.driver, "n2", how)
            case "declined":
                self.decline(offer, out.driver, "n2", how)
            case "unacknowledged" | "expired":
                if ends == "expired":
                    self.offer_ack(offer, out.driver)
                self.time_to(out.ack_by or out.expires)
                entry = DueEntry(
                    f"offer/{job.mall}/{offer}/{name}", DueKind.OFFER, name, job.mall, offer
                )
                self._lapse(entry, how)
            case "withdrawn":
                self.withdraw(offer, how)
            case "cancelled":
                self.cancel(name, how)
            case "assigned":
                self.assign(name, out.driver, how)
            case "over":
                self.time_to(job.expires)
                self.expire(name, how=how)
            case _:
                self.offer_more(name, how)
        for other in live:
            rival = self.model.offers[other].driver
            if ends == "declined":
                self.decline(other, rival)
            self.accept(other, rival, "n1")
        if name in self.model.rounds:
            self.time_to(self.model.rounds[name].next)
            self.offer_more(name, how)

    def round_at(self, back: int) -> str:
        return list(reversed(self.model.rounds))[back % len(self.model.rounds)]

    def offer_more(self, name: str, how: How = "once") -> None:
        job = self.model.jobs[name]
        self._offer_more(DueEntry(f"more/{job.mall}/{name}", DueKind.MORE, name, job.mall), how)

    def _offer_more(self, entry: DueEntry, how: How) -> None:
        expected = self.model.offer_more(entry.id)
        self.call(
            f"ask more of {entry.id}",
            expected,
            lambda store: store.deadlines.offer_more(entry),
            how=how,
            read=lambda offered: offered.verdict,
        )

    def _execute(self, entry: DueEntry, how: How) -> None:
        if entry.kind == "more":
            self._offer_more(entry, how)
        else:
            super()._execute(entry, how)

    def _limits(self) -> list[int]:
        return super()._limits() + [several.next for several in self.model.rounds.values()]
