"""Rules: a shop hands over against the code of the driver, of an earlier one, or a wrong one."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.core.handover import handover_code
from tests.properties.machine import DRIVERS, How, how_often, recent, some_driver
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.operation.proof import ProofRules
from tests.properties.world import HANDOVER_KEY


class CounterRules(ProofRules):
    """Rules for the counter of a shop."""

    @precondition(lambda self: self.with_a_shop())
    @rule(
        back=recent,
        whose=st.sampled_from(("holder", "holder", "former", "former", "next", "nobody")),
        last=st.booleans(),
        how=how_often,
    )
    def a_code_is_shown(self, back: int, whose: str, last: bool, how: How) -> None:
        """``next``: the code of an attempt that does not exist yet. ``last``: at the last shop."""
        names = self.with_a_shop()
        name = names[-1 - back % len(names)]
        job = self.model.jobs[name]
        former = sorted(attempt for _, attempt in job.former)
        attempt = {"former": former[back % len(former)] if former else 0, "next": job.attempt + 1}
        self.show_code(
            name,
            attempt.get(whose, job.attempt),
            wrong=whose == "nobody",
            store=[*job.shops][-1 if last else 0],
            how=how,
        )

    @rule(driver=some_driver, how=how_often)
    def a_former_driver_comes_for_an_offered_job(self, driver: str, how: How) -> None:
        """An operator has taken the job from a driver who then shows its code at the counter."""
        name = self.begin(driver, Order())
        if not name:
            return
        attempt = self.model.jobs[name].attempt
        self.unassign(name, attempt)
        self.offer(name, self.model.jobs[name].attempt, DRIVERS)
        self.show_code(name, attempt, how=how)

    def with_a_shop(self) -> list[str]:
        """All jobs with parcels at a shop."""
        return [name for name, job in self.model.jobs.items() if job.shops]

    def show_code(
        self,
        name: str,
        attempt: int,
        *,
        wrong: bool = False,
        store: str = "lego",
        how: How = "once",
    ) -> None:
        ref = self.ref(name)
        code = "no code" if wrong else handover_code(HANDOVER_KEY, attempt)
        expected = self.model.show_code(name, None if wrong else attempt, store)
        self.call(
            f"{store} hands {name} over for {code} ({attempt})",
            expected,
            lambda node: node.shops.hand_over(ref, store, code, None, f"store/{store}"),
            how=how,
            again=expected,
        )
        # Ten minutes later, by a clock that these tests do not turn.
        for of in (name, f"{ref.mall}/{store}"):
            self.world.forget_guesses(of)
