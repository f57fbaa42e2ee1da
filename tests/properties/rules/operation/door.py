"""Rules: nobody takes the parcels at the door; answers, and the way back."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from mallard_engine.ports import DueEntry, DueKind
from mallard_protocol.codes import CUSTOMER_PROBLEMS, AnswerAction
from mallard_protocol.lifecycle import Step, Wish
from tests.properties.machine import How, how_often, recent, some_driver, some_node
from tests.properties.models.door import ON_BOARD, Receipt
from tests.properties.rules.drivers.holder import WAY_BACK
from tests.properties.rules.jobs.job import Order
from tests.properties.rules.operation.shop import ShopRules
from tests.properties.world import MALLS, MARKET, SERVICE

BACK = {"returning", "returned"}
# A redelivery that ended like this has left the parcels where they were.
NOT_CARRIED = {"cancelled", "expired", "failed"}


def has_job_on_board(machine: ShopRules) -> bool:
    return any(job.state in ON_BOARD for job in machine.model.jobs.values())


class DoorRules(ShopRules):
    """Rules for the door and the way back."""

    @precondition(has_job_on_board)
    @rule(
        back=recent,
        verb=st.sampled_from(("at_door", "at_door", "returning", "resume", "resume")),
        late=st.sampled_from((0, 1, 1_000)),
        old=st.sampled_from((0, 0, 0, 1)),
        node=some_node,
        how=how_often,
    )
    def drives_to_and_fro(
        self, back: int, verb: str, late: int, old: int, node: str, how: How
    ) -> None:
        """A step with a time that may not be later than the last one."""
        name = self.job_at(back, ON_BOARD)
        job = self.model.jobs[name]
        if job.holder:
            attempt = job.attempt - old
            self.timed_step(name, job.holder, attempt, verb, late=late, node=node, how=how)

    @precondition(has_job_on_board)
    @rule(
        back=recent,
        kind=st.sampled_from(CUSTOMER_PROBLEMS),
        old=st.sampled_from((0, 0, 0, 1)),
        who=st.sampled_from(("holder", "holder", "holder", "d0")),
        block=st.sampled_from((None, None, 600_000)),
        how=how_often,
    )
    def nobody_takes_it(
        self, back: int, kind: str, old: int, who: str, block: int | None, how: How
    ) -> None:
        """``block``: when the block of the driver ends, if it says so first."""
        name = self.job_at(back, ON_BOARD)
        job = self.model.jobs[name]
        driver = who if who.startswith("d") else job.holder
        if block and driver in self.model.drivers:
            self.status(driver, Wish.PAUSED, block)
        self.undelivered(name, driver or "d0", job.attempt - old, kind, how)

    def undelivered(
        self,
        name: str,
        driver: str,
        attempt: int,
        kind: str = "customer_unreachable",
        how: How = "once",
    ) -> None:
        ref = self.ref(name)
        expected = self.model.undelivered(name, driver, attempt, kind)
        self.call(
            f"{kind}: {name}/{attempt} by {driver}",
            expected,
            lambda store: store.returns.undelivered(
                ref,
                driver,
                kind=kind,
                store="",
                until_ms=None,
                text="",
                attempt=attempt,
                at_ms=self.now,
                plan=WAY_BACK,
            ),
            how=how,
            again=expected,
        )

    @precondition(has_job_on_board)
    @rule(back=recent, block=st.sampled_from((1_000, 600_000)), how=how_often)
    def an_answer_outlasts_the_block(self, back: int, block: int, how: How) -> None:
        """The answer is to wait, and the driver's block ends before the order's time to hold."""
        name = self.job_at(back, {"picked_up"})
        job = self.model.jobs[name]
        if job.state != "picked_up":
            return
        self.status(job.holder, Wish.PAUSED, block)
        self.undelivered(name, job.holder, job.attempt)
        self.answer(name, [*job.troubles][-1], AnswerAction.WAIT.value, how)

    @precondition(lambda self: self.model.drivers)
    @rule(driver=some_driver, block=st.sampled_from((1_000, 600_000)), how=how_often)
    def it_is_held_until_the_block_ends(self, driver: str, block: int, how: How) -> None:
        """A customer refuses an order to be held, and the driver's block ends before its time."""
        name = self.begin(driver, Order(undeliverable="hold"))
        if not name:
            return
        job = self.model.jobs[name]
        self.step(name, driver, job.attempt, Step.PICKED_UP)
        self.status(driver, Wish.PAUSED, block)
        self.undelivered(name, driver, job.attempt, "refused", how)

    @precondition(lambda self: self.model.drivers)
    @rule(
        driver=some_driver,
        action=st.sampled_from([action.value for action in AnswerAction]),
        how=how_often,
    )
    def a_shops_problem_is_answered_at_the_door(self, driver: str, action: str, how: How) -> None:
        """The answer to what a shop lacked comes while nobody takes the other shop's parcels."""
        name = self.begin(driver, Order(stores=("lego", "gap")))
        if not name:
            return
        job = self.model.jobs[name]
        self.problem(name, driver, job.attempt, "not_ready", "gap")
        if not job.troubles:
            return
        first = next(iter(job.troubles))
        self.collect(name, driver, job.attempt, "lego", 2)
        self.undelivered(name, driver, job.attempt)
        self.answer(name, first, action, how)

    @precondition(lambda self: self.model.drivers)
    @rule(
        driver=some_driver,
        action=st.sampled_from([action.value for action in AnswerAction]),
        how=how_often,
    )
    def a_shop_speaks_after_an_answer(self, driver: str, action: str, how: How) -> None:
        """The shop's word resolves a problem that was answered; another answer is late."""
        name = self.begin(driver, Order())
        if not name:
            return
        job = self.model.jobs[name]
        self.problem(name, driver, job.attempt, "not_ready")
        if not job.troubles:
            return
        first = next(iter(job.troubles))
        self.answer(name, first, AnswerAction.WAIT.value)
        self.ready_said(name, "lego")
        self.answer(name, first, action, how)

    @precondition(lambda self: self.model.drivers)
    @rule(driver=some_driver, verb=st.sampled_from(("answer", "resume", "resume")), how=how_often)
    def a_cancelled_return_is_to_turn(self, driver: str, verb: str, how: How) -> None:
        """Neither an answer nor the driver can end a return that a cancellation has begun."""
        name = self.begin(driver, Order())
        if not name:
            return
        job = self.model.jobs[name]
        self.step(name, driver, job.attempt, Step.PICKED_UP)
        if verb == "answer":
            self.undelivered(name, driver, job.attempt, "refused")
        self.cancel(name)
        if verb == "resume":
            self.timed_step(name, driver, job.attempt, "resume", how=how)
        elif job.troubles:
            self.answer(name, [*job.troubles][-1], AnswerAction.RETRY.value, how)

    @precondition(lambda self: self.waiting_at_doors())
    @rule(back=recent, off_by=st.sampled_from((-1, -1, 0, 0, 1)), how=how_often)
    def a_wait_at_the_door_ends(self, back: int, off_by: int, how: How) -> None:
        """A sweeper acts for a job at its limit, or a millisecond before or after it."""
        waiting = self.waiting_at_doors()
        name = waiting[-1 - back % len(waiting)]
        job = self.model.jobs[name]
        assert job.door is not None
        self.time_to(job.door[2], off_by)
        entry = DueEntry(f"door/{job.mall}/{name}", DueKind.DOOR, name, mall=job.mall)
        self.at_door_due(entry, how)

    def waiting_at_doors(self) -> list[str]:
        """Jobs on board whose drivers wait for an answer."""
        jobs = self.model.jobs.items()
        return [name for name, job in jobs if job.door and job.state == "picked_up"]

    @precondition(lambda self: any(job.troubles for job in self.model.jobs.values()))
    @rule(
        back=recent,
        nth=recent,
        action=st.sampled_from([action.value for action in AnswerAction]),
        how=how_often,
    )
    def somebody_answers(self, back: int, nth: int, action: str, how: How) -> None:
        troubled = [name for name, job in self.model.jobs.items() if job.troubles]
        name = troubled[-1 - back % len(troubled)]
        problems = list(self.model.jobs[name].troubles)
        self.answer(name, problems[-1 - nth % len(problems)], action, how)

    def answer(self, name: str, problem: str, action: str, how: How = "once") -> None:
        ref = self.ref(name)
        expected = self.model.answer(name, problem, action)
        self.call(
            f"{action} to {problem} of {name}",
            expected,
            lambda store: store.returns.answer(
                ref, problem, action=action, text="", actor=SERVICE, plan=WAY_BACK
            ),
            how=how,
            again=expected,
        )

    @precondition(lambda self: any(it.state == "returning" for it in self.model.jobs.values()))
    @rule(
        back=recent,
        receipt=st.sampled_from(("code", "wrong", "photo", "none")),
        at_place=st.booleans(),
        before=st.sampled_from(("", "", "is there", "is shown", "the shop has it")),
        old=st.sampled_from((0, 0, 0, 1)),
        how=how_often,
    )
    def comes_back(
        self, back: int, receipt: Receipt, at_place: bool, before: str, old: int, how: How
    ) -> None:
        name = self.job_at(back, {"returning"})
        job = self.model.jobs[name]
        if before == "is there":
            self.is_there(name)
        elif before == "is shown":
            self.is_shown(name)
        elif before == "the shop has it":
            self.received(name, how)
        driver = job.holder or "d0"
        self.returned(name, driver, job.attempt - old, receipt, at_place=at_place, how=how)

    @precondition(lambda self: any(it.state in BACK for it in self.model.jobs.values()))
    @rule(
        back=recent,
        before=st.sampled_from(("", "", "the shop has it")),
        ends=st.sampled_from(("", "cancelled", "cancelled", "returned")),
        again=st.booleans(),
        how=how_often,
    )
    def is_sent_again(self, back: int, before: str, ends: str, again: bool, how: How) -> None:
        """Parcels that came back are delivered after all. ``ends``: how the redelivery ends before
        the order service asks ``again``; the earlier one is replaced only if it was not carried."""
        name = self.job_at(back, BACK)
        if before:
            self.received(name)
        self.redeliver(name, how=how)
        job = self.model.jobs[name]
        if not job.again:
            return
        earlier = self.model.jobs[job.again]
        if ends == "cancelled":
            self.cancel(job.again)
        elif ends == "returned":
            self.assign(job.again, "d2")
            self.step(job.again, "d2", earlier.attempt, Step.PICKED_UP)
            self.cancel(job.again)
            self.received(job.again)
        if again:
            self.redeliver(name, job.again if earlier.state in NOT_CARRIED else "", how)

    def is_there(self, name: str) -> None:
        """A fix of the holder lies inside of the place."""
        stored = self.seen.jobs[name]
        is_placed = stored.return_to is not None
        self.model.jobs[name].seen_there |= stored.state == "returning" and is_placed
        self.call(
            f"{name} is at its place",
            "ok",
            lambda store: store.returns.note_at_place(stored, MALLS[0]),
        )

    def is_shown(self, name: str) -> None:
        """The shop has been shown the code."""
        job = self.model.jobs[name]
        job.shown |= job.state == "returning"
        self.call(
            f"the code of {name} is shown",
            "ok",
            lambda store: store.returns.show_codes(MARKET, MALLS[0], "lego", [name]),
        )

    def received(self, name: str, how: How = "once") -> None:
        ref = self.ref(name)
        expected = self.model.received(name)
        self.call(
            f"the shop has {name}",
            expected,
            lambda store: store.returns.received(ref, "store:lego"),
            how=how,
            again=expected,
        )
