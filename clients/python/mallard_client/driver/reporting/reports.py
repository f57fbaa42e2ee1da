"""The reports that the engine has not answered yet, and those that it may lose."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mallard_client.driver.clock import Clock, Moment
from mallard_client.errors import QueueFull, RequestRefused, Stopped
from mallard_protocol.lifecycle import BEFORE_PICKUP, Step
from mallard_protocol.messages import Progress, Proof, Reply, SocketJob

T = TypeVar("T")
# More steps than a driver makes in a day. A full queue refuses new reports and drops none.
_MAX_REPORTS: Final = 1_000
_LAST_STEPS: Final = frozenset({Step.DELIVERED, Step.RETURNED})
# More jobs than a driver ends while writes may still be lost.
_MAX_ENDED: Final = 50


@dataclass(slots=True, eq=False)
class Report:
    """A progress step on its way to the engine; `answer` is set when the engine replies.

    No caller awaits the `answer` of a report from an earlier run of the app.
    """

    job: str
    attempt: int
    step: Step
    at: Moment
    proof: Proof | None
    reason: str | None
    answer: asyncio.Future[Reply] | None = None
    # Of `collected`: what that shop handed over; None: everything.
    store: str | None = None
    parcels: int | None = None
    jobs: tuple[str, ...] | None = None

    def message(self, request_id: int, clock: Clock) -> Progress:
        """Return the message that reports the step."""
        return Progress(
            id=request_id,
            job=self.job,
            attempt=self.attempt,
            step=self.step,
            at_ms=clock.on_server(self.at),
            proof=given(self.proof),
            reason=given(self.reason),
            store=given(self.store),
            parcels=given(self.parcels),
            jobs=given(self.jobs),
        )

    def check(self, clock: Clock) -> None:
        """Refuse at once what the engine would refuse at every retry. Raises `ValueError`."""
        try:
            msgspec.convert(msgspec.to_builtins(self.message(0, clock)), Progress)
        except (TypeError, msgspec.MsgspecError) as error:
            raise ValueError(str(error)) from error


def given(value: T | None) -> T | UnsetType:
    """Return a field of a message; None: the message has none."""
    return UNSET if value is None else value


class ReportQueue:
    """Reports that the engine has not answered yet, in the order in which they happened.

    Only the first is in flight at any time: a later step must not overtake an earlier one.
    """

    def __init__(self) -> None:
        self._reports: deque[Report] = deque()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._reports)

    def __iter__(self) -> Iterator[Report]:
        return iter(tuple(self._reports))

    def add(self, report: Report) -> None:
        """Queue a report behind the others. Raises `QueueFull`."""
        if len(self._reports) >= _MAX_REPORTS:
            raise QueueFull(f"{_MAX_REPORTS} reports are unanswered")
        if report.answer is not None:
            # A refusal without a caller that awaits it is in the log already.
            report.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._reports.append(report)
        self._filled.set()

    async def first(self) -> Report:
        """Wait for a report and return the first; it stays until it is settled."""
        await self._filled.wait()
        return self._reports[0]

    def is_first(self, report: Report) -> bool:
        """Whether this report is the one in flight."""
        return bool(self._reports) and self._reports[0] is report

    def settle(self, outcome: Reply | RequestRefused) -> None:
        """Remove the first report, which was answered or refused for good."""
        answer = self._reports.popleft().answer
        if not self._reports:
            self._filled.clear()
        if answer is None or answer.done():
            return
        if isinstance(outcome, Reply):
            answer.set_result(outcome)
        else:
            answer.set_exception(outcome)

    def clear(self) -> int:
        """Drop all reports; return how many there were."""
        count = len(self._reports)
        self._reports.clear()
        self._filled.clear()
        return count

    def fail_pending(self, why: Stopped) -> None:
        """Fail the pending answers; the reports stay queued."""
        for report in self._reports:
            if report.answer is not None and not report.answer.done():
                report.answer.set_exception(why)

    def renumber(self, job: str, attempt: int, raised: int) -> None:
        """Move a job's reports to the attempt to which custody has raised it."""
        for report in self._reports:
            if report.job == job and report.attempt == attempt:
                report.attempt = raised


class EndedJobs:
    """The last steps of jobs that the engine has confirmed, and may lose in a failover."""

    def __init__(self) -> None:
        self._reports: dict[str, Report] = {}

    def note(self, report: Report, reply: Reply) -> None:
        """Remember a report if it has ended its job."""
        if report.step not in _LAST_STEPS or reply.job_state != report.step:
            return
        self._reports[report.job] = report
        if len(self._reports) > _MAX_ENDED:
            del self._reports[next(iter(self._reports))]

    def take_lost(self, held: SocketJob) -> list[Report]:
        """Return the reports that end a job again, of whose end the engine does not know."""
        ended = self._reports.pop(held.job, None)
        if ended is None:
            return []
        again = replace(ended, attempt=held.attempt, answer=None)
        if held.state in BEFORE_PICKUP:
            return [replace(again, step=Step.PICKED_UP, proof=None), again]
        return [again]

    def clear(self) -> None:
        """Forget all."""
        self._reports.clear()
