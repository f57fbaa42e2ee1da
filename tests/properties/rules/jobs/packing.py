"""Rules: jobs that have ended are packed, also by a node that read them long ago."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.storage.packed import pack_as_read, read_to_pack
from mallard_protocol.lifecycle import TERMINAL, Step
from tests.properties.machine import How, how_often, recent, some_driver, some_node
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.operation.letter import LetterRules
from tests.properties.world import MARKET


class PackingRules(LetterRules):
    """Rules for packing. What a job is does not change by it: `check_step` compares."""

    @rule(node=some_node, how=how_often)
    def ended_jobs_are_packed(self, node: str = "n1", how: How = "once") -> None:
        """A sweeper packs the jobs that ended long enough ago."""
        self.pass_time(int(self.policy.pack_after_s * 1000))
        self.call(
            "pack",
            "ok",
            lambda store: store.deadlines.pack(MARKET),
            node=node,
            how=how,
            read=lambda _: "ok",
            # A node that dies has packed some of them, and the other one packs the rest.
            same=lambda seen: {"jobs": seen.jobs, "counts": seen.counts},
        )

    @rule(driver=some_driver, how=how_often)
    def a_report_follows_the_packing(self, driver: str, how: How) -> None:
        """An app that got no answer reports a delivery again after the job was packed."""
        name = self.begin(driver, Order())
        if not name:
            return
        job = self.model.jobs[name]
        for step in (Step.PICKED_UP, Step.DELIVERED):
            self.step(name, driver, job.attempt, step)
        self.ended_jobs_are_packed()
        self.step(name, driver, job.attempt, Step.DELIVERED, how=how)

    @precondition(lambda self: self.model.jobs)
    @rule(back=recent, node=some_node)
    def node_reads_to_pack(self, back: int, node: str = "n1") -> None:
        """A node reads a job to pack it, and is slow."""
        name = self.job_at(back, TERMINAL)
        store = self.world.stores[node]
        read = self.world.run(read_to_pack(store.runner.link, self.world.keys, name))
        self.reads_to_pack.append((name, *read))

    @precondition(lambda self: self.reads_to_pack)
    @rule(nth=st.integers(0, 3), node=some_node, how=how_often)
    def slow_node_packs(self, nth: int = 0, node: str = "n1", how: How = "once") -> None:
        """It packs what it read, which nothing may have changed since."""
        name, fields, last_round = self.reads_to_pack[nth % len(self.reads_to_pack)]
        keys = self.world.keys
        self.call(
            f"pack {name} as read",
            "ok",
            lambda store: pack_as_read(store.runner, keys, name, fields, last_round),
            node=node,
            how=how,
            read=lambda _: "ok",
        )
