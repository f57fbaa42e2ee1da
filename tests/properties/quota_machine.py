"""Quotas of services under random interleavings of two nodes' calls, against a simple model.

A separate machine, as the large one has too few jobs and too little time to fill a quota.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mallard_engine.core.model import Vehicle
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef, QuotaExceeded, Quotas
from mallard_engine.storage.scripts import Script
from mallard_protocol.codes import JobReason
from mallard_protocol.lifecycle import JobState, Step
from tests.properties.world import MALLS, MARKET, NODES, START_MS, World, submission

DAY_MS = 86_400_000
KEPT_MS = 7 * DAY_MS
OPEN_JOBS = 3
# Six of the smallest jobs, or two of the largest and two small ones.
STORED_BYTES = 600
HOLDER = "d0"
# Names with a common prefix, which are neighbours in the index of open jobs.
SERVICES = ("shop", "shop2", "shop-2")

some_service = st.sampled_from(SERVICES)
some_node = st.sampled_from(NODES)
ends = st.sampled_from(("cancelled", "expired", "delivered", "lost"))


@dataclass
class Model:
    """``open``: the open jobs of each service. ``bytes``: stored bytes by service and day of
    submission."""

    open: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in SERVICES})
    bytes: dict[str, Counter[int]] = field(
        default_factory=lambda: {name: Counter() for name in SERVICES}
    )

    def exceeded(self, service: str, size: int, now_ms: int) -> str | None:
        """The quota that another job of this size would exceed."""
        if len(self.open[service]) >= OPEN_JOBS:
            return "open_jobs"
        first_day = (now_ms - KEPT_MS) // DAY_MS
        stored = sum(n for day, n in self.bytes[service].items() if day >= first_day)
        return "stored_bytes" if stored + size > STORED_BYTES else None


class QuotaMachine(RuleBasedStateMachine):
    """Two nodes, three services, one driver without limits."""

    def __init__(self, url: str, scripts: Mapping[str, Script] | None = None) -> None:
        super().__init__()
        self.policy = MarketPolicy()
        self.world = World(url, self.policy, scripts)
        self.model = Model()
        self.made = 0
        for store in self.world.stores.values():
            store.jobs._quotas = Quotas(OPEN_JOBS, STORED_BYTES)

    def teardown(self) -> None:
        self.world.close()

    @initialize()
    def a_driver_comes(self) -> None:
        store = self.world.stores["n1"]
        self.world.run(store.leases.beat(MARKET, "n1"))
        self.world.run(
            store.drivers.hello(MARKET, HOLDER, node="n1", vehicle=Vehicle(), fix=None, device=None)
        )

    @rule(
        service=some_service,
        size=st.sampled_from((50, 100, 200)),
        node=some_node,
        times=st.sampled_from((1, 1, 2)),
    )
    def submit(self, service: str, size: int, node: str = "n1", times: int = 1) -> None:
        """Submit a job; with ``times`` 2 the other node repeats it, which must not count twice."""
        name = f"job_{MARKET}.j{self.made:03}"
        self.made += 1
        made = replace(
            submission(name, MALLS[0], MARKET, self.world.now, key=name, external=None),
            service=service,
            body=b"x" * (size - 1),
            card=b"x",
        )
        exceeded = self.model.exceeded(service, size, self.world.now)
        if exceeded is None:
            self.model.open[service].append(name)
            self.model.bytes[service][self.world.now // DAY_MS] += size
        for number in range(times):
            store = self.world.stores[node if number == 0 else NODES[1 - NODES.index(node)]]
            verdict = None
            try:
                self.world.run(store.jobs.submit(made))
            except QuotaExceeded as refusal:
                verdict = str(refusal)
            self._log_step(f"{name} of {service}, {size} bytes: {verdict}")
            assert verdict == exceeded, f"{service}: the store says {verdict}, expected {exceeded}"

    @precondition(lambda self: any(self.model.open.values()))
    @rule(back=st.integers(0, 8), how=ends, node=some_node)
    def end(self, back: int = 0, how: str = "cancelled", node: str = "n1") -> None:
        jobs = [(name, service) for service, jobs in self.model.open.items() for name in jobs]
        name, service = jobs[back % len(jobs)]
        self.model.open[service].remove(name)
        ref, store = JobRef(name, MALLS[0]), self.world.stores[node]
        if how == "cancelled":
            self.world.run(store.jobs.cancel(ref, service, ""))
        elif how == "expired":
            self.world.now = max(self.world.now, self.world.run(store.jobs.get(name)).expires_ms)
            self.world.run(
                store.deadlines.expire(ref, JobReason.NOBODY_IN_REACH, self.policy.max_attempts)
            )
        else:
            self._hand_to_driver(ref, node)
            if how == "delivered":
                self._step(ref, node, Step.DELIVERED)
            else:
                self.world.run(store.jobs.close(ref, JobState.LOST, "operator", ""))
        self._log_step(f"{name} of {service} is {how}")
        assert self.world.run(store.jobs.get(name)).state is JobState(how)

    def _log_step(self, text: str) -> None:
        """Add a line to the story that a failure prints."""
        if hypothesis.currently_in_test_context():
            hypothesis.note(f"{self.world.now - START_MS:>9} ms  {text}")

    def _hand_to_driver(self, ref: JobRef, node: str) -> None:
        self.world.run(self.world.stores[node].jobs.assign(ref, HOLDER, "operator"))
        self._step(ref, node, Step.PICKED_UP)

    def _step(self, ref: JobRef, node: str, step: Step) -> None:
        store = self.world.stores[node]
        attempt = self.world.run(store.jobs.get(ref.job)).attempt
        self.world.run(store.jobs.progress(ref, HOLDER, attempt, step, at_ms=None, reason=""))

    @rule(ms=st.sampled_from((1, 60_000, DAY_MS, 3 * DAY_MS, KEPT_MS)))
    def time_passes(self, ms: int) -> None:
        self.world.now += ms

    @rule(node=some_node)
    def forgets(self, node: str) -> None:
        """Remove expired data, like the sweepers."""
        while self.world.run(self.world.stores[node].deadlines.forget(MARKET)):
            pass
