"""Transfers in the model: custody goes to the second driver in one step, by the code."""

from collections.abc import Sequence

from mallard_protocol.lifecycle import BEFORE_PICKUP, ON_BOARD, TERMINAL
from tests.properties.models.changes import ChangeModel
from tests.properties.models.records import Job

CODE = "4711"
LASTS_MS = 3_600_000
_MOST_WRONG = 3


class TransferModel(ChangeModel):
    """A market in which parcels on board change drivers."""

    def on_board(self, driver: str) -> list[str]:
        """The jobs that a driver has on board."""
        return [name for name in self.drivers[driver].jobs if self.jobs[name].state in ON_BOARD]

    def carried(self, transfer: str) -> list[str]:
        """What the first driver of a transfer still has to hand over."""
        job = self.jobs[transfer]
        return [
            name
            for name in job.carries
            if self.jobs[name].holder == job.first
            and self.jobs[name].transfer == transfer
            and self.jobs[name].state in ON_BOARD
        ]

    def begin_transfer(
        self, name: str, mall: str, first: str, jobs: Sequence[str], driver: str | None
    ) -> str:
        for each in jobs:
            last = self.jobs[each].transfer
            if last and self.jobs[last].state not in TERMINAL:
                return "open"
        transfer = Job(
            mall,
            self.now + LASTS_MS,
            self.now,
            None,
            age_check=False,
            state="queued",
            weight=sum(self.jobs[each].weight for each in jobs),
            ready=self.now,
            due=self.now + LASTS_MS,
            created=self.now,
            first=first,
            carries=tuple(jobs),
            parts=len(jobs),
        )
        self.jobs[name] = transfer
        refusal = self._unavailable(name, first, driver)
        if refusal:
            del self.jobs[name]
            return refusal
        self.drivers[first].wish = "paused"
        for held in [*self.drivers[first].jobs]:
            if self.jobs[held].state in {"assigned", "at_mall"}:
                self._revoke(self.jobs[held], "unassigned")
        for each in jobs:
            self.jobs[each].transfer = name
        if driver is not None:
            self._give(transfer, name, driver)
            transfer.state = "assigned"
        return "ok"

    def _unavailable(self, name: str, first: str, driver: str | None) -> str:
        if driver is None:
            return ""
        second = self.drivers.get(driver)
        if second is None:
            return "no_driver"
        busy = second.suspended or second.offer or driver == first
        return "unavailable" if busy or not self.fits(driver, [name], by_operator=True) else ""

    def take_over(
        self, name: str, driver: str, attempt: int, code: str | None, jobs: Sequence[str] | None
    ) -> str:
        job = self.jobs[name]
        is_mine = self._is_holder(job, driver, attempt)
        if is_mine and job.state not in {"assigned", "at_mall"}:
            return "ok" if job.state == "delivered" else "wrong_state"
        may_claim = (driver, attempt) in job.former and job.state in BEFORE_PICKUP
        if not is_mine and not may_claim:
            return self._claim(job, name, driver, attempt, "picked_up")
        refusal = self._judge_code(job, code)
        if refusal:
            return refusal
        if jobs is not None and not set(jobs) <= set(job.carries):
            return "bad_field"
        got = [each for each in self.carried(name) if jobs is None or each in jobs]
        if not got:
            return "wrong_state"
        if not is_mine:
            self._claim(job, name, driver, attempt, "picked_up")
        del self.drivers[driver].jobs[name]
        for each in got:
            self._change_hands(each, job.first, driver)
        job.state = "delivered"
        return "ok"

    def _judge_code(self, job: Job, code: str | None) -> str:
        if code is None:
            return "proof_needed"
        if code == CODE and len(job.wrong) < _MOST_WRONG:
            return ""
        if code not in job.wrong and len(job.wrong) < _MOST_WRONG:
            job.wrong.append(code)
        return "wrong_code"

    def _change_hands(self, name: str, first: str, second: str) -> None:
        job = self.jobs[name]
        job.asked.append((first, job.attempt, "unassigned", self.now))
        job.former = {(driver, at) for driver, at in job.former if driver != first}
        del self.drivers[first].jobs[name]
        self._give(job, name, second)

    def settle_transfer(self, name: str) -> None:
        job = self.jobs[name]
        if job.state in BEFORE_PICKUP and not self.carried(name):
            self._take_away(job, "withdrawn", None)
            job.state, job.holder = "cancelled", ""
