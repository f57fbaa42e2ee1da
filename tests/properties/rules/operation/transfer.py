"""Rules: parcels on board go to another driver, who may come late, without the code, or in vain."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.core.model import Need
from mallard_engine.ports import TransferPlan
from mallard_protocol.lifecycle import Wish
from mallard_protocol.messages import Proof
from tests.properties.machine import DRIVERS, How, how_often, recent, some_driver
from tests.properties.models.transfers import CODE, LASTS_MS
from tests.properties.rules.drivers.patience import PatienceRules
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.jobs.run import pools
from tests.properties.world import HOME, MARKET, MEETING

some_code = st.sampled_from((CODE, CODE, CODE, None, "0", "1", "2"))
MEANWHILE = ("delivered", "all delivered", "returning", "unassigned", "swept", "guessed")
who_takes = st.sampled_from((None, None, *DRIVERS))


class TransferRules(PatienceRules):
    """Rules for transfers of parcels between drivers."""

    @precondition(lambda self: self.loaded())
    @rule(back=recent, some=st.booleans(), driver=who_takes, how=how_often)
    def a_car_breaks_down(self, back: int, some: bool, driver: str | None, how: How) -> None:
        """``some``: only the first parcel is handed over."""
        first = self.loaded()[back % len(self.loaded())]
        jobs = self.model.on_board(first)
        self.transfer(first, jobs[:1] if some else jobs, driver, how)

    @precondition(lambda self: self.loaded())
    @rule(
        back=recent,
        driver=some_driver,
        code=some_code,
        meanwhile=st.sampled_from(("", "", "", *MEANWHILE)),
        again=st.booleans(),
        how=how_often,
    )
    def two_drivers_meet(
        self, back: int, driver: str, code: str | None, meanwhile: str, again: bool, how: How
    ) -> None:
        """``meanwhile``: what happens to the parcels, or to the meeting. ``again``: the first
        driver reports what it does not have any more."""
        first = self.loaded()[back % len(self.loaded())]
        jobs = self.model.on_board(first)
        attempts = [self.model.jobs[job].attempt for job in jobs]
        name = self.transfer(first, jobs, None)
        if name not in self.model.jobs:
            return
        self.assign(name, driver)
        attempt = self.model.jobs[name].attempt
        if meanwhile in {"delivered", "returning"}:
            self.step(jobs[0], first, attempts[0], meanwhile)
        elif meanwhile == "unassigned":
            self.unassign(name, attempt)
        elif meanwhile == "swept":
            self.sweep("n2", how)
        elif meanwhile == "all delivered":
            self.sweep("n2", how)  # what the assignment has left to do
            for job, at in zip(jobs, attempts, strict=True):
                self.step(job, first, at, "delivered")
        elif meanwhile == "guessed":
            for guess in ("0", "1", "2", CODE):
                self.take_over(name, driver, attempt, guess)
        self.take_over(name, driver, attempt, code, how=how)
        if again:
            for step in ("delivered", "picked_up"):
                self.step(jobs[0], first, attempts[0], step)
        self.sweep("n1", how)

    @precondition(pools)
    @rule(first=some_driver, second=some_driver, some=st.booleans(), how=how_often)
    def two_parcels_change_hands(self, first: str, second: str, some: bool, how: How) -> None:
        """``some``: the second driver gets only the first of two parcels."""
        for driver in (first, second):
            self._make_free(driver)
        for _ in range(2):
            self.submit(Order())
            name = self.job_at(0)
            self.assign(name, first)
            self.step(name, first, self.model.jobs[name].attempt, "picked_up")
        jobs = self.model.on_board(first)
        name = self.transfer(first, jobs) if jobs else ""
        if name in self.model.jobs:
            self.assign(name, second)
            attempt = self.model.jobs[name].attempt
            self.take_over(name, second, attempt, jobs=jobs[:1] if some else None, how=how)

    @rule(first=some_driver, how=how_often)
    def the_first_driver_is_free_again(self, first: str, how: How) -> None:
        """It has delivered what it was to hand over. The transfer must not be offered to it."""
        name = self.begin(first, Order())
        if not name:
            return
        attempt = self.model.jobs[name].attempt
        self.step(name, first, attempt, "picked_up")
        transfer = self.transfer(first, [name])
        self.step(name, first, attempt, "delivered")
        self.status(first, Wish.AVAILABLE)
        if transfer in self.model.jobs:
            self.offer(transfer, self.model.jobs[transfer].attempt, [first], how)

    @precondition(lambda self: self.transfers())
    @rule(
        back=recent,
        driver=st.sampled_from(("holder", "holder", *DRIVERS)),
        old=st.sampled_from((0, 0, 0, 1)),
        code=some_code,
        which=st.sampled_from(("all", "all", "first", "other")),
        how=how_often,
    )
    def takes_over(
        self, back: int, driver: str, old: int, code: str | None, which: str, how: How
    ) -> None:
        """A report of the second driver, or of somebody else."""
        name = self.transfers()[back % len(self.transfers())]
        job = self.model.jobs[name]
        if driver == "holder":
            driver = job.holder or "d0"
        jobs = {"all": None, "first": job.carries[:1], "other": ("job_phoenix.other",)}[which]
        self.take_over(name, driver, job.attempt - old, code, jobs, how)

    def loaded(self) -> list[str]:
        """The drivers with parcels on board."""
        return [name for name in self.model.drivers if self.model.on_board(name)]

    def transfers(self) -> list[str]:
        """All transfers, the newest first."""
        jobs = self.model.jobs.items()
        return [name for name, job in reversed(jobs) if job.carries]

    def transfer(
        self, first: str, jobs: Sequence[str], driver: str | None = None, how: How = "once"
    ) -> str:
        """Begin a transfer of jobs on board; return its id, whether or not it was made."""
        name = f"job_{MARKET}.t{len(self.world.known_jobs):03}"
        snapshot = self.world.run(self.world.stores["n1"].drivers.snapshot(MARKET, first))
        need = Need(
            stores=("transfer",),
            ready_ms=self.now,
            deadline_ms=self.now + LASTS_MS,
            expires_ms=self.now + LASTS_MS,
            lat=HOME[0],
            lon=HOME[1],
            parcels=len(jobs),
            weight_g=sum(self.model.jobs[job].weight for job in jobs),
            volume_l=1.5,
            requires=(),
            priority=100,
            created_ms=self.now,
            jobs=len(jobs),
        )
        plan = TransferPlan(
            job=name,
            mall=MEETING,
            first=first,
            carries=tuple(job for job in snapshot.jobs if job.id in jobs),
            held=snapshot.jobs,
            need=need,
            card=b"card",
            code=CODE,
            actor="operator",
            driver=driver,
        )
        jobs = [job.id for job in plan.carries]
        expected = self.model.begin_transfer(name, MEETING, first, jobs, driver)
        self.world.known_jobs[:] = [*self.model.jobs]
        self.call(
            f"{first} hands {jobs} over to {driver or 'anybody'} by {name}",
            expected,
            lambda store: store.transfers.begin(MARKET, replace(plan)),
            how=how,
            again=expected,
        )
        return name

    def take_over(
        self,
        name: str,
        driver: str,
        attempt: int,
        code: str | None = CODE,
        jobs: Sequence[str] | None = None,
        how: How = "once",
    ) -> None:
        ref, at_ms = self.ref(name), self.now - 1
        expected = self.model.take_over(name, driver, attempt, code, jobs)
        self.call(
            f"{driver} takes {jobs or 'all'} of {name}/{attempt} over with {code}",
            expected,
            lambda store: store.transfers.take_over(
                ref,
                driver,
                attempt,
                at_ms=at_ms,
                proof=None if code is None else Proof("code", code),
                jobs=jobs,
            ),
            how=how,
            again=expected,
        )
