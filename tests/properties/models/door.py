"""The door and the way back in the model: attempts, rules, answers, returns, cancellation."""

from dataclasses import dataclass
from typing import Literal

from mallard_protocol.codes import CUSTOMER_PROBLEMS, MOST_DELIVERY_ATTEMPTS
from mallard_protocol.lifecycle import TIMED_STEPS
from tests.properties.models.held import HeldModel
from tests.properties.models.records import FROM, Job

ON_BOARD = ("picked_up", "returning")

Receipt = Literal["code", "wrong", "photo", "none"]


@dataclass
class Trouble:
    """A problem of a job. ``answer``: the last one."""

    kind: str
    store: str = ""
    state: str = "open"
    answer: str = ""


# Different wrong codes of a customer: after these the right one no longer counts.
MOST_WRONG = 3
# What follows once parcels were kept on board for long enough: they go back.
KEPT = "kept"


class DoorModel(HeldModel):
    """What happens to parcels on board until they are delivered or back."""

    def timed_step(self, name: str, driver: str, attempt: int, step: str, at: int) -> str:
        """A step with a time: `at_door`, `returning` or `resume`."""
        job = self.jobs[name]
        if not self._is_holder(job, driver, attempt):
            return self._claim(job, name, driver, attempt, step)
        if job.taken and job.taken[0] == job.attempt and at <= job.taken[1]:
            return "ok"
        done = {
            "at_door": {"delivered"},
            "returning": {"returning", "returned"},
            "resume": {"picked_up", "delivered"},
        }[step]
        if job.state in done:
            return "ok"
        is_cancelled = step == "resume" and job.cancel_requested
        if job.state != ("returning" if step == "resume" else "picked_up") or is_cancelled:
            return "wrong_state"
        job.taken = (job.attempt, at)
        if step == "at_door":
            self._new_visit(job)
            job.door = None
        elif step == "resume":
            self._new_visit(job)
            job.state = "picked_up"
        else:
            self._turn_back(job)
        return "ok"

    def progress(self, name: str, driver: str, attempt: int, step: str, *, checked: bool) -> str:
        assert step not in TIMED_STEPS
        job = self.jobs[name]
        if step == "delivered" and self._is_holder(job, driver, attempt):
            is_next = job.state in FROM[step]
            job.aged = job.aged or (is_next and checked)
            checked = checked or job.aged
        return super().progress(name, driver, attempt, step, checked=checked)

    def prove(self, name: str, driver: str, attempt: int, kind: str, value: str) -> str:
        """A report of the delivery with a photo, a signature or a code."""
        job = self.jobs[name]
        if self._is_holder(job, driver, attempt) and job.state in FROM["delivered"]:
            if kind == "code" and job.pin and "pin" not in job.given:
                if value != job.pin or len(job.wrong_pins) == MOST_WRONG:
                    if len(job.wrong_pins) < MOST_WRONG:
                        job.wrong_pins.add(value)
                    return "wrong_code"
                job.given.add("pin")
            elif kind != "code":
                of, used_for = self.images.get(value, ("", ""))
                if of != driver or used_for not in {"", name}:
                    return "bad_field"
                self.images[value] = driver, name
                job.given.add(kind)
        return self.progress(name, driver, attempt, "delivered", checked=False)

    def undelivered(self, name: str, driver: str, attempt: int, kind: str) -> str:
        job = self.jobs[name]
        if driver not in self.drivers or name not in self.drivers[driver].jobs:
            return "not_yours"
        if not self._is_holder(job, driver, attempt):
            return "stale_attempt"
        problem, is_new = self._keep_trouble(job, kind, "")
        if job.state == "picked_up":
            self._nobody_takes_it(job, problem, kind, is_new=is_new)
        return "ok"

    def _keep_trouble(self, job: Job, kind: str, store: str) -> tuple[str, bool]:
        """Note a report; return its problem, and whether it is new."""
        is_about = (kind, store, "open")
        for name, it in job.troubles.items():
            if (it.kind, it.store, it.state) == is_about:
                return name, False
        name = f"p{len(job.troubles) + 1}"
        job.troubles[name] = Trouble(kind, store)
        return name, True

    def _nobody_takes_it(self, job: Job, problem: str, kind: str, *, is_new: bool) -> None:
        if job.visited and not is_new:
            return
        job.attempts += not job.visited
        job.visited = True
        is_last = job.attempts >= MOST_DELIVERY_ATTEMPTS
        rule = "return" if is_last else job.rule
        if is_last or kind == "refused":
            self._act(job, problem, rule)
        else:
            job.door = (problem, rule, self.now + round(self.policy.door_wait_s * 1000))

    def _act(self, job: Job, problem: str, rule: str) -> None:
        if rule == "leave":
            job.left, job.door = True, None
        elif rule == "hold":
            self._keep(job, problem)
        else:
            self._turn_back(job)

    def _keep(self, job: Job, problem: str) -> None:
        until = self.drivers[job.holder].until
        limits = (self.now + job.hold_ms, job.due, until or job.due)
        if min(limits) <= self.now:
            self._turn_back(job)
        else:
            job.door = (problem, KEPT, min(limits))

    def status(self, name: str, wish: str, until: int | None) -> str:
        verdict = super().status(name, wish, until)
        driver = self.drivers.get(name)
        if verdict == "ok" and driver and driver.until is not None:
            for held in driver.jobs:
                job = self.jobs[held]
                if job.state == "picked_up" and job.door and job.door[1] == KEPT:
                    job.door = (*job.door[:2], min(job.door[2], driver.until))
        return verdict

    def at_door_due(self, name: str) -> None:
        job = self.jobs[name]
        if job.state == "picked_up" and job.door and job.door[2] <= self.now:
            problem, rule, _ = job.door
            self._act(job, problem, rule)

    def answer(self, name: str, problem: str, action: str) -> str:
        job = self.jobs[name]
        trouble = job.troubles.get(problem)
        if trouble is None:
            return "no_problem"
        if trouble.answer == action:
            return "ok"
        states = {
            "leave": ("picked_up",),
            "return": ON_BOARD,
            "wait": ("assigned", "at_mall", "picked_up"),
        }.get(action, ("assigned", "at_mall", *ON_BOARD))
        refused = action == "retry" and job.cancel_requested
        if job.state not in states or trouble.state == "resolved" or refused:
            return "wrong_state"
        trouble.state, trouble.answer = "answered", action
        is_at_door = job.state == "picked_up" and trouble.kind in CUSTOMER_PROBLEMS
        if job.state == "picked_up" and action == "return":
            self._turn_back(job)
        elif job.state == "picked_up" and action == "leave":
            job.left, job.door = True, None
        elif is_at_door and action == "wait":
            self._keep(job, problem)
        elif job.state == "returning" and action == "retry":
            job.state, job.visited = "picked_up", False
        elif is_at_door:
            job.door, job.left = None, False
            job.visited = job.visited and action != "retry"
        return "ok"

    def returned(
        self, name: str, driver: str, attempt: int, receipt: Receipt, *, at_place: bool
    ) -> str:
        job = self.jobs[name]
        if not self._is_holder(job, driver, attempt):
            return self._claim(job, name, driver, attempt, "returned")
        if job.state == "returned":
            return "ok"
        if job.state != "returning":
            return "wrong_state"
        if not at_place and not job.seen_there:
            return "no_position"
        if receipt == "wrong":
            return "wrong_code"
        job.photo = job.photo or (receipt == "photo")
        is_enough = receipt == "code" or (job.photo and not job.shown)
        return self._back(job, name) if is_enough else "proof_needed"

    def received(self, name: str) -> str:
        """The shop's word."""
        job = self.jobs[name]
        if job.state == "returned":
            return "ok"
        return self._back(job, name) if job.state == "returning" else "wrong_state"

    def cancel(self, name: str) -> str:
        job = self.jobs[name]
        if job.cancel_requested and job.state in {"returning", "returned"}:
            return "ok"
        if job.state not in ON_BOARD:
            return super().cancel(name)
        job.cancel_requested = True
        if job.state == "picked_up":
            self._turn_back(job)
        return "ok"

    def redeliver(self, name: str, job: Job, key: str, replaces: str) -> tuple[str, str]:
        """Submit a job for the parcels of a returned one, once, or after a failed redelivery."""
        origin = self.jobs[job.origin]
        if origin.state != "returned":
            return "wrong_state", ""
        if origin.again not in {"", replaces}:
            return "replayed", origin.again
        verdict, of = self.submit(name, job, key, "redelivery")
        if verdict == "ok":
            origin.again = name
        return verdict, of

    def _new_visit(self, job: Job) -> None:
        job.visited, job.left = False, False
        for trouble in job.troubles.values():
            if trouble.kind in CUSTOMER_PROBLEMS:
                trouble.state = "resolved"

    def _turn_back(self, job: Job) -> None:
        job.state, job.door, job.left, job.seen_there = "returning", None, False, False

    def _back(self, job: Job, name: str) -> str:
        self._end_held(job, name, "returned")
        return "ok"
