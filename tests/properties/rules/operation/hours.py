"""Rules: shops close and open by their own word, and their jobs hear it, late or in part."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_protocol.lifecycle import HELD, ShopState
from tests.properties.machine import How, how_often, recent, some_driver
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.operation.counter import CounterRules
from tests.properties.rules.operation.shop import some_store
from tests.properties.world import MARKET


class HoursRules(CounterRules):
    """What a shop says of its hours."""

    @precondition(lambda self: self.model.jobs)
    @rule(
        back=recent,
        store=some_store,
        late=st.sampled_from((0, 5_000, 600_000, 600_000, 4 * 3_600_000)),
        arrival=st.sampled_from((None, None, 0, 1)),
        alone=st.booleans(),
        how=how_often,
    )
    def a_shop_closes(
        self, back: int, store: str, late: int, arrival: int | None, alone: bool, how: How
    ) -> None:
        """``late`` 0: it opens. ``arrival``: it opens so long after a driver's arrival. ``alone``:
        the node dies after the first of its jobs."""
        name = self.job_at(back, {"offered", *HELD})
        job = self.model.jobs[name]
        if arrival is not None and job.state == "assigned" and job.eta:
            late = job.eta[0] + arrival - self.now
        self.set_hours(job.mall, store, late, how)
        there = [each for each, it in self.model.jobs.items() if it.mall == job.mall]
        for each in [name] if alone else there:
            self.apply_hours(each, store, how)

    @rule(driver=some_driver, arrival=st.sampled_from((0, 0, 1)), how=how_often)
    def a_shop_opens_as_the_driver_arrives(self, driver: str, arrival: int, how: How) -> None:
        """``arrival``: how long after the driver's arrival the shop opens."""
        name = self.begin(driver, Order())
        if not name:
            return
        self.update_etas(driver, [name], late=600_000)
        job = self.model.jobs[name]
        if job.eta:
            self.set_hours(job.mall, "lego", job.eta[0] + arrival - self.now)
            self.apply_hours(name, "lego", how)

    @rule(
        driver=some_driver,
        on_short=st.sampled_from(("deliver", "hold", "hold")),
        reports=st.booleans(),
        lacks=st.booleans(),
        late=st.sampled_from((1_000, 600_000)),
        then=st.sampled_from(("opens", "opens", "closes for longer", "time passes")),
        how=how_often,
    )
    def nobody_is_at_the_counter(
        self,
        driver: str,
        on_short: str,
        reports: bool,
        lacks: bool,
        late: int,
        then: str,
        how: How,
    ) -> None:
        """A job is held for a closed shop: the driver ``reports`` it, or the shop says so.
        ``lacks``: the other shop of the order says meanwhile that it has nothing."""
        self.submit(Order(stores=("lego", "gap"), on_short=on_short))
        name = self.job_at(0)
        self.assign(name, driver)
        job = self.model.jobs[name]
        if job.holder != driver:
            return
        if reports:
            self.problem(name, driver, job.attempt, "store_closed", "lego", late, how)
        else:
            self.set_hours(job.mall, "lego", late)
            self.apply_hours(name, "lego", how)
        if lacks:
            self.shop_says(name, "gap", ShopState.MISSING)
        if then == "time passes":
            self.time_to(job.release)
            self.sweep("n2", how)
        else:
            self.set_hours(job.mall, "lego", 0 if then == "opens" else 2 * late)
            self.apply_hours(name, "lego", how)

    def set_hours(self, mall: str, store: str, late: int, how: How = "once") -> None:
        """A shop says that it is closed for ``late`` ms; 0: that it is open."""
        until_ms = self.now + late if late > 0 else 0
        self.model.words[mall, store] = until_ms
        self.call(
            f"{mall}/{store} is closed for {late} ms",
            "ok",
            lambda node: node.shops.set_hours(MARKET, mall, store, until_ms, f"store/{store}"),
            how=how,
        )

    def apply_hours(self, name: str, store: str, how: How = "once") -> None:
        ref = self.ref(name)
        self.model.shop_changes(name, store)
        self.call(
            f"{store} tells {name} of its hours",
            "ok",
            lambda node: node.shops.apply_hours(ref, store, f"store/{store}"),
            how=how,
        )
