"""What a driver app keeps while it is offline: position fixes and progress reports.

Times in here are by the app's own clock; they become the server's when they are sent, since the
difference of the clocks is only known after a ``welcome``.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from msgspec import UNSET

from clients.errors import RequestRefused, Stopped
from protocol.lifecycle import Step
from protocol.messages import MAX_FIXES, Fix, Progress, Proof, Reply

# 1e-7 degrees are a centimetre; more digits are only bytes.
_DEGREE_DIGITS = 7


@dataclass(frozen=True, slots=True)
class LocalFix:
    """One position reading of the phone."""

    at_ms: int
    lat: float
    lon: float
    acc_m: float
    heading_deg: float | None = None
    speed_mps: float | None = None

    def on_wire(self, offset_ms: int) -> Fix:
        """The fix as the socket carries it; `offset_ms` leads to the server's clock."""
        return (
            max(0, self.at_ms + offset_ms),
            round(self.lat, _DEGREE_DIGITS),
            round(self.lon, _DEGREE_DIGITS),
            self.acc_m,
            self.heading_deg,
            self.speed_mps,
        )


class FixBuffer:
    """Fixes that were not sent yet, at most `limit`; the oldest make room for the newest."""

    def __init__(self, limit: int) -> None:
        self._fixes: deque[LocalFix] = deque(maxlen=limit)
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._fixes)

    def add(self, fix: LocalFix) -> None:
        """Keep a fix, the newest so far."""
        self.dropped += len(self._fixes) == self._fixes.maxlen
        self._fixes.append(fix)

    def take(self) -> tuple[LocalFix, ...]:
        """Take out the oldest fixes, oldest first, as many as one message holds."""
        return tuple(self._fixes.popleft() for _ in range(min(MAX_FIXES, len(self._fixes))))

    def put_back(self, fixes: tuple[LocalFix, ...]) -> None:
        """Put fixes back that could not be sent, before the others, as far as there is room."""
        room = (self._fixes.maxlen or 0) - len(self._fixes)
        kept = fixes[max(0, len(fixes) - room) :]
        self.dropped += len(fixes) - len(kept)
        self._fixes.extendleft(reversed(kept))


@dataclass(slots=True, eq=False)
class Report:
    """A progress step on its way to the engine; ``answer`` is there once the engine replied."""

    job: str
    attempt: int
    step: Step
    at_ms: int
    proof: Proof | None
    reason: str | None
    answer: asyncio.Future[Reply]

    def message(self, request_id: int, offset_ms: int) -> Progress:
        """The report as the socket carries it."""
        return Progress(
            id=request_id,
            job=self.job,
            attempt=self.attempt,
            step=self.step,
            at_ms=max(0, self.at_ms + offset_ms),
            proof=UNSET if self.proof is None else self.proof,
            reason=UNSET if self.reason is None else self.reason,
        )


class ReportQueue:
    """Reports that the engine has not answered yet, in the order in which they happened.

    Only the first is ever under way: a later step must not overtake an earlier one.
    """

    def __init__(self) -> None:
        self._reports: deque[Report] = deque()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._reports)

    def add(self, report: Report) -> None:
        """Queue a report behind the others."""
        self._reports.append(report)
        self._filled.set()

    async def first(self) -> Report:
        """Wait for a report and return the first; it stays until it is settled."""
        await self._filled.wait()
        return self._reports[0]

    def answered(self, reply: Reply) -> None:
        """The first report got its reply."""
        report = self._reports.popleft()
        if not report.answer.done():  # else whoever waited for it has given up
            report.answer.set_result(reply)
        self._note_emptiness()

    def refused(self, refusal: RequestRefused) -> None:
        """The first report was refused for good."""
        report = self._reports.popleft()
        if not report.answer.done():
            report.answer.set_exception(refusal)
        self._note_emptiness()

    def wait_no_more(self, why: Stopped) -> None:
        """Tell whoever waits for answers that there will be none for now. The reports stay."""
        for report in self._reports:
            if not report.answer.done():
                report.answer.set_exception(why)

    def renumber(self, job: str, attempt: int, raised: int) -> None:
        """The engine raised a job's attempt (custody): what named the old one names the new one."""
        for report in self._reports:
            if report.job == job and report.attempt == attempt:
                report.attempt = raised

    def _note_emptiness(self) -> None:
        if not self._reports:
            self._filled.clear()
