"""Staggered rounds in the model: several offers of one job at one attempt, one winner."""

from collections.abc import Sequence
from dataclasses import dataclass

from mallard_engine.core.policy import MarketPolicy
from tests.properties.models.door import DoorModel
from tests.properties.models.records import Eta, Job, Offer


@dataclass
class Round:
    """The live offers of a round and the drivers it may still ask, best first (``rest``)."""

    live: list[str]
    asked: int
    most: int
    gap: int
    next: int
    rest: list[str]
    ids: list[str]
    eta: Eta
    cell: int | None

    @property
    def asks_more(self) -> bool:
        return self.asked < self.most and bool(self.rest)


class StaggeredModel(DoorModel):
    """A market whose rounds may ask several drivers."""

    def __init__(self, policy: MarketPolicy, now: int) -> None:
        super().__init__(policy, now)
        self.rounds: dict[str, Round] = {}  # by job

    def offers_of(self, job: Job) -> set[str]:
        names = [name for name, known in self.jobs.items() if known is job and name in self.rounds]
        return {job.offer} if not names else {*self.rounds[names[0]].live}

    def begin_round(
        self,
        ids: Sequence[str],
        name: str,
        attempt: int,
        plan: Sequence[str],
        gap: int,
        eta: Eta,
        cell: int | None,
    ) -> tuple[str, str | None]:
        """Make the first offer of a round, ``ids[0]``; the other ids are for later offers."""
        first, *others = ids
        is_new = first not in self.offers
        verdict, taker, _ = self.offer(first, {name: attempt}, plan, [eta], cell)
        if verdict == "offered" and is_new and taker is not None:
            rest = [driver for driver in plan if driver != taker]
            next_ms = self.now + gap
            # Ids are used from the end.
            ids = others[::-1]
            self.rounds[name] = Round(
                [first], 1, len(others) + 1, gap, next_ms, rest, [*ids], eta, cell
            )
        return verdict, taker

    def offer_more(self, name: str) -> str:
        job, several = self.jobs[name], self.rounds.get(name)
        if several is None or not several.asks_more:
            return "gone"
        if self.now < several.next:
            return "early"
        is_asked = self._ask_next(job, name, several)
        if several.gap == 0:
            while self._ask_next(job, name, several):
                pass
            several.rest = []
        elif not is_asked:
            several.next = self.now + several.gap
        return "offered" if is_asked else "nobody"

    def _ask_next(self, job: Job, name: str, several: Round) -> bool:
        if several.asked >= several.most or self.now >= job.expires or self.is_paused([job]):
            return False
        barred = self.barred(job)
        free = [d for d in several.rest if d not in barred and self.may_take(d, [name])]
        if not free:
            return False
        driver = free[0]
        several.rest.remove(driver)
        offer = several.ids.pop()
        several.live.append(offer)
        several.asked += 1
        several.next = self.now + several.gap
        expires = min(self.now + self.policy.offer_timeout_ms, job.expires)
        ack_by = min(self.now + self.policy.offer_ack_timeout_ms, expires)
        add_on = bool(self.drivers[driver].jobs)
        cell = None if add_on else several.cell
        self.offers[offer] = Offer(
            {name: job.attempt}, driver, expires, ack_by, add_on, {name: several.eta}, cell
        )
        self.drivers[driver].offer = offer
        job.known.add(driver)
        return True

    def _end_offer(self, offer: str, outcome: str, leaving: Job | None = None) -> None:
        name = next(iter(self.offers[offer].jobs))
        several = self.rounds.get(name)
        if several is None or offer not in several.live:
            super()._end_offer(offer, outcome, leaving)
        elif outcome == "accepted":
            self._end_others(name, offer, "withdrawn")
            super()._end_offer(offer, outcome)
        elif leaving is not None:
            super()._end_offer(offer, outcome, leaving)
            self._end_others(name, offer, outcome)
        else:
            self._one_fewer(name, several, offer, outcome)

    def _one_fewer(self, name: str, several: Round, offer: str, outcome: str) -> None:
        job = self.jobs[name]
        several.live.remove(offer)
        if not several.live and not self._ask_next(job, name, several):
            del self.rounds[name]
            super()._end_offer(offer, outcome)
            return
        self._close(job, offer, outcome)
        job.offer = several.live[0]

    def _end_others(self, name: str, but: str, outcome: str) -> None:
        for other in self.rounds.pop(name).live:
            if other != but:
                self._close(self.jobs[name], other, outcome)

    def _close(self, job: Job, offer: str, outcome: str) -> None:
        out = self.offers[offer]
        out.state, out.ended = outcome, self.now
        self.drivers[out.driver].offer = None
        job.asked.append((out.driver, job.attempt, outcome, self.now))
