"""Rules for drivers at the counter and for shops."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_protocol.lifecycle import HELD, ShopState, Step
from tests.properties.machine import How, how_often, recent, some_driver, some_node
from tests.properties.rules.drivers.register import RegisterRules
from tests.properties.rules.jobs.job import Order
from tests.properties.world import MARKET

some_store = st.sampled_from(("lego", "lego", "gap"))
some_parcels = st.sampled_from((None, 0, 0, 1, 2, 3))
AT_THE_COUNTER = {"assigned", "at_mall", "picked_up"}


class ShopRules(RegisterRules):
    """What drivers and shops report of a job's parcels."""

    @precondition(lambda self: self.model.jobs)
    @rule(
        back=recent,
        who=st.sampled_from(("holder", "holder", "holder", "d0", "d1")),
        store=st.sampled_from(("lego", "lego", "gap", "nobody")),
        parcels=some_parcels,
        old=st.sampled_from((0, 0, 0, 1, 2)),
        node=some_node,
        how=how_often,
    )
    def at_the_counter(
        self, back: int, who: str, store: str, parcels: int | None, old: int, node: str, how: How
    ) -> None:
        name = self.job_at(back, AT_THE_COUNTER)
        job = self.model.jobs[name]
        driver = job.holder or "d0" if who == "holder" else who
        self.collect(name, driver, job.attempt - old, store, parcels, node=node, how=how)

    @precondition(lambda self: any(job.former for job in self.model.jobs.values()))
    @rule(back=recent, nth=recent, store=some_store, parcels=some_parcels, how=how_often)
    def collected_before_it_was_revoked(
        self, back: int, nth: int, store: str, parcels: int | None, how: How
    ) -> None:
        """A driver whose job was taken away reports what it collected."""
        taken = [name for name, job in self.model.jobs.items() if job.former]
        name = taken[-1 - back % len(taken)]
        former = sorted(self.model.jobs[name].former, key=lambda turn: -turn[1])
        driver, attempt = former[nth % len(former)]
        self.collect(name, driver, attempt, store, parcels, how=how)

    def collect(
        self,
        name: str,
        driver: str,
        attempt: int,
        store: str,
        parcels: int | None,
        *,
        node: str = "n1",
        how: How = "once",
    ) -> None:
        ref, at_ms = self.ref(name), self.now - 1
        expected = self.model.collect(name, driver, attempt, store, parcels)
        self.call(
            f"{driver} collects {parcels} of {name}/{attempt} at {store}",
            expected,
            lambda store_: store_.jobs.progress(
                ref,
                driver,
                attempt,
                Step.COLLECTED,
                at_ms=at_ms,
                reason="",
                store=store,
                parcels=parcels,
            ),
            node=node,
            how=how,
            again=expected,
        )

    @precondition(lambda self: self.model.jobs)
    @rule(
        back=recent,
        kind=st.sampled_from(("missing", "missing", "partial", "store_closed", "not_ready")),
        store=some_store,
        late=st.sampled_from((5_000, 600_000)),
        old=st.sampled_from((0, 0, 0, 1)),
        how=how_often,
    )
    def trouble_at_the_counter(
        self, back: int, kind: str, store: str, late: int, old: int, how: How
    ) -> None:
        name = self.job_at(back, AT_THE_COUNTER)
        job = self.model.jobs[name]
        turns = [turn for turn in job.asked if turn[2] == "held"]
        driver, attempt = job.holder or "d0", job.attempt
        if not job.holder and turns:
            driver, attempt = turns[-1][:2]
        self.problem(name, driver, attempt - old, kind, store, late, how)

    def problem(
        self,
        name: str,
        driver: str,
        attempt: int,
        kind: str,
        store: str = "lego",
        late: int = 600_000,
        how: How = "once",
    ) -> None:
        ref, until_ms = self.ref(name), self.now + late
        expected = self.model.problem(name, driver, attempt, kind, store, until_ms)
        self.call(
            f"{driver} says {kind} of {name}/{attempt} at {store}",
            expected,
            lambda store_: store_.jobs.problem(
                MARKET,
                driver,
                kind=kind,
                mall=ref.mall,
                job=name,
                store=store,
                until_ms=until_ms,
                text="",
                attempt=attempt,
            ),
            how=how,
            again=expected,
        )

    @precondition(lambda self: self.model.jobs)
    @rule(
        back=recent,
        store=some_store,
        state=st.sampled_from((ShopState.SHORT, ShopState.MISSING, ShopState.MISSING)),
        parcels=st.sampled_from((1, 1, 0, 2, None)),
        how=how_often,
    )
    def a_shop_says(
        self, back: int, store: str, state: ShopState, parcels: int | None, how: How
    ) -> None:
        self.shop_says(self.job_at(back, {"queued", "offered", *HELD}), store, state, parcels, how)

    def shop_says(
        self,
        name: str,
        store: str,
        state: ShopState,
        parcels: int | None = None,
        how: How = "once",
    ) -> None:
        ref = self.ref(name)
        expected = self.model.shop_says(name, store, state.value, parcels)
        self.call(
            f"{store} says {state} ({parcels}) of {name}",
            expected,
            lambda store_: store_.jobs.shop_says(ref, store, state, store, parcels),
            how=how,
            again=expected,
        )

    @precondition(lambda self: any(job.is_held for job in self.model.jobs.values()))
    @rule(back=recent, late=st.sampled_from((0, 0, 60_000)), own=st.booleans(), how=how_often)
    def an_answer_comes(self, back: int, late: int, own: bool, how: How) -> None:
        """The shop of a held job, or another, says that its parcels are ready."""
        held = [name for name, job in self.model.jobs.items() if job.is_held]
        name = held[-1 - back % len(held)]
        job = self.model.jobs[name]
        stores = [*job.shops]
        self.ready_said(name, job.held[1] if own else stores[0], late, how)

    @precondition(lambda self: any(job.is_held for job in self.model.jobs.values()))
    @rule(back=recent, driver=some_driver, parcels=st.sampled_from((0, 0, 1, None)), how=how_often)
    def the_next_driver_comes(self, back: int, driver: str, parcels: int | None, how: How) -> None:
        """The shop of a held job answers, and the next driver finds its parcels or not."""
        held = [name for name, job in self.model.jobs.items() if job.is_held]
        name = held[-1 - back % len(held)]
        job, store = self.model.jobs[name], self.model.jobs[name].held[1]
        self.ready_said(name, store)
        self.assign(name, driver)
        if job.holder:
            self.collect(name, job.holder, job.attempt, store, parcels, how=how)

    @precondition(lambda self: any(job.is_held for job in self.model.jobs.values()))
    @rule(back=recent, how=how_often)
    def nobody_answers(self, back: int, how: How) -> None:
        """The time of a held job passes."""
        held = [job for job in self.model.jobs.values() if job.is_held]
        self.time_to(held[-1 - back % len(held)].held[2])
        self.sweep("n1", how)

    @rule(driver=some_driver, how=how_often)
    def a_job_is_claimed_before_its_last_shop(self, driver: str, how: How) -> None:
        """A hello says that the parcels are on board, of which one shop's are still to come."""
        name = self.begin(driver, Order(stores=("lego", "gap")))
        if not name:
            return
        attempt = self.model.jobs[name].attempt
        self.collect(name, driver, attempt, "lego", 2)
        self.claim(name, driver, attempt, "picked_up", how)

    @rule(
        driver=some_driver,
        other=some_driver,
        story=st.sampled_from(("one closed, one missing", "not ready", "unanswered")),
        how=how_often,
    )
    def a_shop_cannot_hand_over(self, driver: str, other: str, story: str, how: How) -> None:
        """What follows is decided by the shops, a driver who gives up, or an operator."""
        name = self.begin(driver, Order(stores=("lego", "gap"), on_short="hold"))
        if not name:
            return
        attempt = self.model.jobs[name].attempt
        if story == "one closed, one missing":
            self.problem(name, driver, attempt, "store_closed", late=1_000)
            self.shop_says(name, "gap", ShopState.MISSING)
            self.ready_said(name, "lego", how=how)
            self.time_passes(1_000)
            self.sweep()
        elif story == "not ready":
            self.problem(name, driver, attempt, "not_ready")
            self.step(name, driver, attempt, Step.GIVE_UP, how=how)
        else:
            self.collect(name, driver, attempt, "lego", 0)
            self.assign(name, other)
            self.unassign(name, self.model.jobs[name].attempt, how)

    def ready_said(self, name: str, store: str, late: int = 0, how: How = "once") -> None:
        ref, was, release_ms = self.ref(name), self.seen.jobs[name], self.now + late
        expected = self.model.ready_said(name, release_ms, store, is_ready=late <= 0)
        self.call(
            f"{store} says ready of {name} in {late} ms",
            expected,
            lambda store_: store_.jobs.ready(
                ref,
                was=was,
                body=was.body,
                card=was.card,
                need=was.need,
                release_ms=release_ms,
                actor=store,
                said=store,
                is_ready=late <= 0,
            ),
            how=how,
        )
