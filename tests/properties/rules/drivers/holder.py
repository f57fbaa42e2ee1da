"""Rules of the state machine: drivers with offers and held jobs."""

from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.core.model import ReturnPlace, ReturnPlan
from mallard_engine.ports import Stop
from mallard_protocol.codes import MOST_UNUSED_PROOFS
from mallard_protocol.lifecycle import HELD, TERMINAL, TIMED_STEPS, Step
from mallard_protocol.messages import Proof
from tests.properties.machine import (
    How,
    how_often,
    is_late,
    recent,
    some_node,
)
from tests.properties.models.door import Receipt
from tests.properties.models.records import Job
from tests.properties.rules.drivers.driver import DriverRules
from tests.properties.world import HOME, MALLS, MARKET

# Where everything goes back to, and what drivers give there.
WAY_BACK = ReturnPlan(
    ReturnPlace(kind="store", mall=MALLS[0], store="lego", lat=HOME[0], lon=HOME[1]), "246810"
)
RECEIPTS: dict[Receipt, Proof | None] = {
    "code": Proof("code", "246810"),
    "wrong": Proof("code", "0"),
    "none": None,
}
ImageKind = Literal["photo", "signature"]
# The driver who answers an offer; None: the driver who got it.
stranger = st.sampled_from((None, None, None, None, "d0", "d1"))
# A shop's parcels are collected by rules of their own.
_STEPS = [step for step in Step if step is not Step.COLLECTED]


def next_step(job: Job) -> str:
    return {"assigned": "at_mall", "at_mall": "picked_up"}.get(job.state, "delivered")


class HolderRules(DriverRules):
    """Rules for drivers with offers and held jobs."""

    @precondition(lambda self: self.offers)
    @rule(
        verb=st.sampled_from(("accept", "decline", "ack")),
        back=recent,
        late=is_late,
        stranger=stranger,
        node=some_node,
        how=how_often,
    )
    def answers(
        self, verb: str, back: int, late: bool, stranger: str | None, node: str, how: How
    ) -> None:
        offer = self.offer_at(back, late)
        known = self.model.offers.get(offer)
        driver = stranger or (known.driver if known else "d0")
        if verb == "accept":
            self.accept(offer, driver, node, how)
        elif verb == "decline":
            self.decline(offer, driver, node, how)
        else:
            self.offer_ack(offer, driver, how)

    def offer_ack(self, offer: str, driver: str, how: How = "once") -> None:
        expected = self.model.offer_ack(offer, driver)
        self.call(
            f"ack {offer} by {driver}",
            expected,
            lambda store: store.offers.ack(MARKET, driver, offer),
            how=how,
            again=expected,
        )

    def accept(self, offer: str, driver: str, node: str = "n1", how: How = "once") -> None:
        expected = self.model.accept(offer, driver)
        self.call(
            f"accept {offer} by {driver}",
            expected,
            lambda store: store.offers.accept(MARKET, driver, offer),
            node=node,
            how=how,
            again=expected,
        )

    def decline(self, offer: str, driver: str, node: str = "n1", how: How = "once") -> None:
        expected = self.model.decline(offer, driver)
        self.call(
            f"decline {offer} by {driver}",
            expected,
            lambda store: store.offers.decline(MARKET, driver, offer, ""),
            node=node,
            how=how,
            again=expected,
        )

    @precondition(lambda self: self.model.jobs)
    @rule(
        back=recent,
        who=st.sampled_from(("holder", "holder", "holder", "d0", "d1")),
        step=st.sampled_from(("next", "next", "picked_up", "geofence", *_STEPS)),
        old=st.sampled_from((0, 0, 0, 1, 2)),
        checked=st.booleans(),
        node=some_node,
        how=how_often,
    )
    def progress(
        self, back: int, who: str, step: str, old: int, checked: bool, node: str, how: How
    ) -> None:
        """A step by the holder or another driver, possibly `old` attempts behind."""
        name = self.job_at(back, HELD)
        job = self.model.jobs[name]
        driver, attempt = job.holder or "d0", job.attempt
        if who.startswith("d"):
            driver = who
        attempt -= old
        if step == "geofence":
            self.arrive(name, driver, attempt, how)
            return
        if step == "next":
            step = next_step(job)
        self.step(name, driver, attempt, step, checked=checked, node=node, how=how)

    def step(
        self,
        name: str,
        driver: str,
        attempt: int,
        step: str,
        *,
        checked: bool = True,
        node: str = "n1",
        how: How = "once",
    ) -> None:
        if step in TIMED_STEPS:
            self.timed_step(name, driver, attempt, step, node=node, how=how)
            return
        if step == Step.RETURNED:
            self.returned(name, driver, attempt, node=node, how=how)
            return
        ref, at_ms = self.ref(name), self.now - 1
        # An ended job accepts further proof, which would change it; so none is sent.
        checked = checked and self.model.jobs[name].state not in TERMINAL
        if step == Step.GIVE_UP:
            expected = self.model.give_up(name, driver, attempt)
        else:
            expected = self.model.progress(name, driver, attempt, step, checked=checked)
        self.call(
            f"{step} {name}/{attempt} by {driver}",
            expected,
            lambda store: store.jobs.progress(
                ref,
                driver,
                attempt,
                Step(step),
                at_ms=at_ms,
                proof=Proof("age_checked") if checked else None,
                reason="",
            ),
            node=node,
            how=how,
            again=expected,
        )

    def timed_step(
        self,
        name: str,
        driver: str,
        attempt: int,
        step: str,
        *,
        late: int = 1,
        node: str = "n1",
        how: How = "once",
    ) -> None:
        """A step with a time, `late` ms ago."""
        ref, at_ms = self.ref(name), self.now - late
        expected = self.model.timed_step(name, driver, attempt, step, at_ms)
        self.call(
            f"{step} {name}/{attempt} by {driver}, {late} ms ago",
            expected,
            lambda store: store.jobs.progress(
                ref, driver, attempt, Step(step), at_ms=at_ms, reason="", plan=WAY_BACK
            ),
            node=node,
            how=how,
            again=expected,
        )

    def photo(self, name: str, driver: str, kind: ImageKind = "photo") -> Proof:
        """A photo or signature of a job that the driver has uploaded, once."""
        image = f"{kind}-{name}-{driver}"
        if image not in self.model.images:
            mine = [used for of, used in self.model.images.values() if of == driver]
            if mine.count("") >= MOST_UNUSED_PROOFS:
                return Proof(kind, "no-such-image")
            self.model.images[image] = driver, ""
            self.call(
                f"{driver} uploads a {kind} for {name}",
                "ok",
                lambda store: store.proofs.add(
                    MARKET, driver, image, media_type="image/png", size=70
                ),
            )
        return Proof(kind, image)

    def returned(
        self,
        name: str,
        driver: str,
        attempt: int,
        receipt: Receipt = "code",
        *,
        at_place: bool = True,
        node: str = "n1",
        how: How = "once",
    ) -> None:
        """The driver says that the parcels are back."""
        ref = self.ref(name)
        proof = self.photo(name, driver) if receipt == "photo" else RECEIPTS[receipt]
        # Like the dispatcher, which plans the way back unless there is a place already.
        is_placed = self.seen.jobs[name].return_to is not None
        expected = self.model.returned(name, driver, attempt, receipt, at_place=at_place)
        self.call(
            f"{name}/{attempt} is returned by {driver} ({receipt}, at the place: {at_place})",
            expected,
            lambda store: store.returns.returned(
                ref,
                driver,
                attempt,
                at_ms=self.now,
                proof=proof,
                reason="",
                at_place=at_place,
                plan=None if is_placed else WAY_BACK,
            ),
            node=node,
            how=how,
            again=expected,
        )

    def arrive(self, name: str, driver: str, attempt: int, how: How = "once") -> None:
        ref = self.ref(name)
        self.model.arrive(name, driver, attempt)
        self.call(
            f"{driver} is at the mall of {name}/{attempt}",
            "ok",
            lambda store: store.jobs.arrive(ref, driver, attempt),
            how=how,
        )

    @precondition(lambda self: self.model.jobs)
    @rule(
        backs=st.lists(recent, min_size=1, max_size=3, unique=True),
        stranger=stranger,
        old=st.sampled_from((0, 0, 1)),
        late=st.sampled_from((0, 0, 3_000_000, 3_600_000)),
        how=how_often,
    )
    def its_run_changes(
        self, backs: list[int], stranger: str | None, old: int, late: int, how: How
    ) -> None:
        """New ETAs for a driver's jobs, possibly for jobs that it no longer holds."""
        names = list(dict.fromkeys(self.job_at(back, HELD) for back in backs))
        driver = stranger or self.model.jobs[names[0]].holder or "d0"
        self.update_etas(driver, names, old, late=late, how=how)

    def update_etas(
        self, driver: str, names: list[str], old: int = 0, *, late: int = 0, how: How = "once"
    ) -> None:
        attempts = {name: self.model.jobs[name].attempt - old for name in names}
        at = self.now + late
        etas = {name: (at + n, at + 9 * n) for n, name in enumerate(names, 1)}
        self.model.update_etas(driver, {name: (attempts[name], etas[name]) for name in names})
        stops = [Stop(name, attempts[name], *etas[name]) for name in names]
        self.call(
            f"etas of {driver}: {attempts}",
            "ok",
            lambda store: store.jobs.update_etas(MARKET, driver, stops),
            how=how,
        )

    @precondition(lambda self: self.model.jobs)
    @rule(
        back=recent,
        who=st.sampled_from(("holder", "holder", "d0", "d1")),
        ahead=st.sampled_from((0, 0, 0, -1, -2, 1, 2)),
        state=st.sampled_from(("picked_up", "delivered")),
        how=how_often,
    )
    def says_what_it_holds(self, back: int, who: str, ahead: int, state: str, how: How) -> None:
        """A hello claims a parcel, possibly under an attempt unknown to the store."""
        name = self.job_at(back, HELD)
        job = self.model.jobs[name]
        driver = job.holder or "d0" if who == "holder" else who
        if driver in self.model.drivers:  # a hello creates the driver
            self.claim(name, driver, job.attempt + ahead, state, how)

    def claim(self, name: str, driver: str, attempt: int, state: str, how: How = "once") -> None:
        expected = self.model.claim(name, driver, attempt, state)
        self.call(
            f"{driver} says that {name}/{attempt} is {state}",
            expected,
            lambda store: store.jobs.claim(MARKET, driver, name, attempt, state, at_ms=self.now),
            how=how,
            again=expected,
        )

    @rule()
    def lost_writes_are_noticed(self) -> None:
        """Mark writes as lost, which relaxes the rules for claims. Nothing is actually lost."""
        self.model.lost = self.now
        self.log_step("lost writes are noticed")
        self.world.command("HSET", self.world.keys.key("lineage"), "lost", self.now)

    @precondition(lambda self: any(job.former for job in self.model.jobs.values()))
    @rule(back=recent, nth=recent, node=some_node, how=how_often)
    def claims_custody(self, back: int, nth: int, node: str, how: How) -> None:
        """A driver whose job was taken away reports `picked_up`."""
        taken = [name for name, job in self.model.jobs.items() if job.former]
        name = taken[-1 - back % len(taken)]
        former = sorted(self.model.jobs[name].former, key=lambda turn: -turn[1])
        driver, attempt = former[nth % len(former)]
        self.step(name, driver, attempt, "picked_up", node=node, how=how)

    @precondition(lambda self: any(job.won for job in self.model.jobs.values()))
    @rule(
        back=recent,
        step=st.sampled_from(("delivered", "returning", "returned", "at_mall", "give_up")),
        checked=st.booleans(),
        how=how_often,
    )
    def goes_on_as_claimed(self, back: int, step: str, checked: bool, how: How) -> None:
        """A driver continues under its claimed attempt, as the app does not know the new one."""
        won = [(name, *claim) for name, job in self.model.jobs.items() for claim in job.won]
        name, driver, attempt = won[-1 - back % len(won)]
        self.step(name, driver, attempt, step, checked=checked, how=how)
