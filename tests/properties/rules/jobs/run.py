"""Rules for runs and add-ons, as sequences of calls that make rare situations common.

A run needs several waiting jobs of one mall and a driver with room for them; an add-on needs a
driver on its way. Random single calls rarely produce these. Each rule sets up its situation as far
as possible; who is asked and how it ends is random. In a market without runs, a run has one job.
"""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.ports import DueEntry, DueKind
from tests.properties.machine import DRIVERS, How, StoreMachine, how_often
from tests.properties.rules.drivers.reassignment import ReassignmentRules
from tests.properties.rules.jobs.job import JobRules, Order
from tests.properties.world import MALLS, NODES

some_mall = st.sampled_from((MALLS[0], MALLS[0], MALLS[1]))
some_size = st.sampled_from((2, 2, 3))
who_first = st.permutations(DRIVERS)
rarely = st.sampled_from((False, False, True))
how_it_ends = st.sampled_from(
    (
        *("accepted", "accepted", "declined", "unacknowledged", "expired", "expired"),
        *("cancelled", "cancelled", "accepted at the limit", "declined at the limit", ""),
    )
)


def pools(machine: StoreMachine) -> bool:
    """Whether the market has runs."""
    return machine.policy.max_run_jobs > 1


class RunRules(JobRules, ReassignmentRules):
    """Each rule is a sequence of calls."""

    @rule(mall=some_mall, size=some_size, drivers=who_first, ends=how_it_ends, how=how_often)
    def a_run_goes_out(
        self, mall: str, size: int, drivers: Sequence[str], ends: str, how: How
    ) -> None:
        """Offer a run; drivers without room may precede one with room in the plan."""
        plan = sorted(drivers, key=self._holds_something)
        jobs = self._waiting(mall, min(size, self.policy.max_run_jobs))
        self._run_goes_out(jobs, plan, ends, how)

    @precondition(pools)
    @rule(
        mall=some_mall,
        drivers=who_first,
        elsewhere=rarely,
        there=rarely,
        ends=how_it_ends,
        how=how_often,
    )
    def one_more_on_the_way(
        self,
        mall: str,
        drivers: Sequence[str],
        elsewhere: bool,
        there: bool,
        ends: str,
        how: How,
    ) -> None:
        """Offer an add-on to a driver on its way to the mall, to another mall, or just arrived."""
        driver = self._on_its_way(mall, drivers)
        if driver is None:
            return
        job = next(iter(self.model.drivers[driver].jobs))
        mall = self.model.jobs[job].mall
        if elsewhere:
            mall = MALLS[1 - MALLS.index(mall)]
        if there:
            self.step(job, driver, self.model.jobs[job].attempt, "at_mall", how=how)
        plan = [driver, *(other for other in drivers if other != driver)]
        self._run_goes_out(self._waiting(mall, 1), plan, ends, how)

    @rule(
        mall=some_mall,
        drivers=who_first,
        size=some_size,
        first=st.booleans(),
        ends=how_it_ends,
        how=how_often,
    )
    def a_run_with_what_one_has_refused(
        self, mall: str, drivers: Sequence[str], size: int, first: bool, ends: str, how: How
    ) -> None:
        """A driver who refused one of the jobs is first in the plan and must be skipped."""
        (refused,) = self._waiting(mall, 1)
        self._run_goes_out([refused], drivers, "declined", how)
        if self.model.jobs[refused].state != "queued":
            return
        size = min(size, self.policy.max_run_jobs)
        others = [name for name in self._waiting(mall, size) if name != refused][: size - 1]
        asked = [driver for driver, *_ in self.model.jobs[refused].asked]
        plan = list(dict.fromkeys([*reversed(asked), *drivers]))
        run = [refused, *others] if first else [*others, refused]
        self._run_goes_out(run, plan, ends, how)

    @precondition(pools)
    @rule(mall=some_mall, drivers=who_first, size=some_size, first=st.booleans(), how=how_often)
    def custody_of_one_of_a_run(
        self, mall: str, drivers: Sequence[str], size: int, first: bool, how: How
    ) -> None:
        """A job is taken from a driver and offered in a run; then the driver claims custody."""
        driver = self._on_its_way(mall, drivers)
        if driver is None:
            return
        name, attempt = next(iter(self.model.drivers[driver].jobs.items()))
        mall = self.model.jobs[name].mall
        self.unassign(name, attempt)
        others = [other for other in self._waiting(mall, size) if other != name]
        self._run_goes_out([name, *others] if first else [*others, name], drivers, "", "once")
        self.step(name, driver, attempt, "picked_up", how=how)

    @precondition(pools)
    @rule(mall=some_mall, drivers=who_first, express=st.booleans(), how=how_often)
    def custody_beside_an_add_on(
        self, mall: str, drivers: Sequence[str], express: bool, how: How
    ) -> None:
        """A driver is offered a job beside another, claims custody of a third that was taken from
        it, and accepts. ``express``: the third must be its only one."""
        driver = min((d for d in drivers if d != "d3"), key=self._holds_something)
        self._make_free(driver)
        names = []
        for order in (Order(mall, express=express), Order(mall), Order(mall)):
            self.submit(order)
            names.append(self.job_at(0))
        taken, beside, added = names
        self.assign(taken, driver)
        attempt = self.model.jobs[taken].attempt
        self.unassign(taken, attempt)
        self.assign(beside, driver)
        out = len(self.offers)
        self.offer(added, 0, [driver])
        self.step(taken, driver, attempt, "picked_up", how=how)
        for offer in self.offers[out:]:
            self.accept(offer, driver, "n2")

    @precondition(lambda self: self._collecting())
    @rule(
        nth=st.integers(0, 3),
        ms=st.sampled_from((1, 45_000, 90_000)),
        unsaid=rarely,
        unready=rarely,
        gives_up=rarely,
        how=how_often,
    )
    def a_run_is_collected(
        self, nth: int, ms: int, unsaid: bool, unready: bool, gives_up: bool, how: How
    ) -> None:
        """Pick up the jobs of a run one by one; one of them may be given up. ``unsaid``: without
        `at_mall`; ``unready``: the driver waits for a parcel."""
        drivers = self._collecting()
        driver = drivers[nth % len(drivers)]
        jobs = dict(self.model.drivers[driver].jobs)
        if unready:
            self.ready(next(iter(jobs)), ms)
        for name, attempt in jobs.items():
            if not unsaid:
                self.step(name, driver, attempt, "at_mall")
        self.time_passes(ms)
        for name, attempt in jobs.items():
            self.step(name, driver, attempt, "give_up" if gives_up else "picked_up", how=how)
            gives_up = False

    @precondition(lambda self: any(job.state == "assigned" for job in self.model.jobs.values()))
    @rule(nth=st.integers(0, 3), drivers=who_first, returns=rarely, ends=how_it_ends, how=how_often)
    def a_run_is_late(
        self, nth: int, drivers: Sequence[str], returns: bool, ends: str, how: How
    ) -> None:
        """The holder of a run falls silent and a driver is free at the limit; with ``returns``, the
        holder returns just before the reassignment."""
        late = [name for name, job in self.model.jobs.items() if job.state == "assigned"]
        name = late[-1 - nth % len(late)]
        holder, attempt = self.model.jobs[name].holder, self.model.jobs[name].attempt
        if self.model.drivers[holder].connected:
            self.disconnect(holder)
        lost_ms = self.model.drivers[holder].lost
        self.time_to(lost_ms + self.model.resume_ms)
        plan = sorted((d for d in drivers if d != holder), key=self._holds_something)
        self._make_free(plan[0])
        if returns:
            self.hello(holder)
        out = len(self.offers)
        self.hand_over(name, attempt, plan, how, lost=lost_ms)
        for offer in self.offers[out:]:
            self._ends(offer, ends, how)

    @precondition(lambda self: self.model.coming())
    @rule(nth=st.integers(0, 3), off_by=st.sampled_from((0, 1)), how=how_often)
    def on_its_way_it_falls_silent(self, nth: int, off_by: int, how: How) -> None:
        """The position of a driver on its way becomes too old for an add-on."""
        coming = sorted(self.model.coming())
        _, _, driver = coming[nth % len(coming)].partition("/")
        fix = self.model.drivers[driver].fix
        assert fix is not None
        self.time_to(fix.received + self.model.stale_ms, off_by)
        self._driver_due(driver, how)
        self.settle()

    @precondition(lambda self: pools(self) and any(d.jobs for d in self.model.drivers.values()))
    @rule(nth=st.integers(0, 3), old=st.sampled_from((0, 1)), how=how_often)
    def a_run_is_planned_anew(self, nth: int, old: int, how: How) -> None:
        """Update the ETAs of all jobs that a driver holds, possibly under an old attempt."""
        drivers = [name for name, driver in self.model.drivers.items() if driver.jobs]
        driver = drivers[nth % len(drivers)]
        self.update_etas(driver, [*self.model.drivers[driver].jobs], old, how=how)

    # -- shared by the rules

    def _holds_something(self, name: str) -> bool:
        driver = self.model.drivers.get(name)
        return driver is not None and bool(driver.jobs)

    def _collecting(self) -> list[str]:
        """The drivers who have jobs to pick up, the longest runs first."""
        drivers = self.model.drivers.items()
        states = {n: {self.model.jobs[job].state for job in d.jobs} for n, d in drivers}
        names = [n for n in states if states[n] & {"assigned", "at_mall"}]
        return sorted(names, key=lambda name: -len(self.model.drivers[name].jobs))

    def _waiting(self, mall: str, size: int) -> list[str]:
        """The `size` newest queued jobs of the mall; missing ones are submitted."""

        def queued() -> list[str]:
            jobs = reversed(self.model.jobs.items())
            return [
                name
                for name, job in jobs
                if (job.state, job.mall) == ("queued", mall) and job.expires > self.now
            ]

        for _ in range(size - len(queued())):
            self.submit(Order(mall))
        return queued()[:size]

    def _on_its_way(self, mall: str, drivers: Sequence[str]) -> str | None:
        """A driver who may get an add-on, if possible."""
        coming = {entry.partition("/")[2] for entry in self.model.coming()}
        if not coming:
            (job,) = self._waiting(mall, 1)
            plan = sorted((d for d in drivers if d != "d3"), key=self._holds_something)
            self._run_goes_out([job], plan, "accepted", "once")
            coming = {entry.partition("/")[2] for entry in self.model.coming()}
        return next((driver for driver in drivers if driver in coming), None)

    def _run_goes_out(
        self, jobs: Sequence[str], drivers: Sequence[str], ends: str, how: How
    ) -> None:
        """Make the first driver of the plan free, offer the run, and end its offers."""
        attempts = {name: self.model.jobs[name].attempt for name in jobs}
        self._make_free(drivers[0])
        out = len(self.offers)
        self.offer_run(attempts, drivers, how)
        for offer in self.offers[out:]:
            self._ends(offer, ends, how)

    def _ends(self, offer: str, ends: str, how: How) -> None:
        """End the offer as `ends` says; then the driver may accept, too late or again."""
        out = self.model.offers[offer]
        if ends.endswith("at the limit"):
            self.time_to(out.expires)
        if ends.startswith("accepted"):
            self.accept(offer, out.driver, how=how)
        elif ends.startswith("declined"):
            self.decline(offer, out.driver, how=how)
        elif ends == "cancelled":
            self.cancel(next(iter(out.jobs)), how)
        elif ends:
            if ends == "expired":
                self.offer_ack(offer, out.driver)
            self.time_to(out.ack_by or out.expires)
            name = [*out.jobs][-1]
            mall = self.model.jobs[name].mall
            self._lapse(
                DueEntry(f"offer/{mall}/{offer}/{name}", DueKind.OFFER, name, mall, offer), how
            )
        if ends in {"declined", "cancelled"}:
            self.accept(offer, out.driver, "n2")

    def _make_free(self, name: str) -> None:
        """Make the driver available, on a live node, without an offer or a cool-down."""
        driver = self.model.drivers.get(name)
        if driver is not None and self.model.may_be_asked(driver):
            return
        if driver is not None:
            if driver.offer:
                self.withdraw(driver.offer)
            if driver.suspended:
                self.suspend(name, suspended=False)
            self.time_to(driver.cool)
        alive = [node for node in NODES if self.model.alive(node)]
        if not alive:
            self.node_beats(NODES[0])
        self.comes_to_work(name, (alive or NODES)[0])
