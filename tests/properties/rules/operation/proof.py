"""Rules: what a driver gives at the door."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_protocol.lifecycle import TERMINAL, Step
from mallard_protocol.messages import Proof, ProofKind
from tests.properties.machine import How, how_often, recent, some_driver, some_node
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.operation.door import DoorRules, has_job_on_board


class ProofRules(DoorRules):
    """Rules for photos, signatures and codes."""

    @precondition(has_job_on_board)
    @rule(
        back=recent,
        kind=st.sampled_from(("photo", "signature", "code", "code")),
        value=st.sampled_from(("own", "own", "own", "another job's", "another driver's", "none")),
        code=st.sampled_from(("4711", "4711", "4712", "47110", "2", "3")),
        other=some_driver,
        old=st.sampled_from((0, 0, 0, 1)),
        node=some_node,
        how=how_often,
    )
    def something_is_given(
        self,
        back: int,
        kind: ProofKind,
        value: str,
        code: str,
        other: str,
        old: int,
        node: str,
        how: How,
    ) -> None:
        name = self.job_at(back, {"picked_up"})
        job = self.model.jobs[name]
        driver = job.holder or other
        if kind == "code":
            proof = Proof("code", code)
        elif value == "own":
            proof = self.photo(name, driver, kind)  # type: ignore[arg-type]
        elif value == "another job's":
            proof = self.photo(self.job_at(back + 1), driver, kind)  # type: ignore[arg-type]
        elif value == "another driver's":
            proof = self.photo(name, other, kind)  # type: ignore[arg-type]
        else:
            proof = Proof(kind, "no-such-image")
        self.give(name, driver, job.attempt - old, proof, node, how)

    @rule(driver=some_driver, how=how_often)
    def a_photo_is_given_for_two_jobs(self, driver: str, how: How) -> None:
        """An app uses the photo of one delivery for the next one as well."""
        first = ""
        for _ in range(2):
            name = self.begin(driver, Order(images=("photo",)))
            if not name:
                return
            first = first or name
            attempt = self.model.jobs[name].attempt
            self.step(name, driver, attempt, Step.PICKED_UP)
            self.give(name, driver, attempt, self.photo(first, driver), how=how)

    def give(
        self,
        name: str,
        driver: str,
        attempt: int,
        proof: Proof,
        node: str = "n1",
        how: How = "once",
    ) -> None:
        """Report the delivery with a proof. An ended job takes more proof, which changes it."""
        if self.model.jobs[name].state in TERMINAL:
            return
        ref = self.ref(name)
        expected = self.model.prove(name, driver, attempt, proof.kind, proof.value)
        self.call(
            f"{driver} gives {proof.kind} {proof.value!r} for {name}/{attempt}",
            expected,
            lambda store: store.jobs.progress(
                ref, driver, attempt, Step.DELIVERED, at_ms=self.now, proof=proof, reason=""
            ),
            node=node,
            how=how,
            again=expected,
        )
