"""Remembers the jobs that a driver has ended, because the engine may lose confirmed writes."""

from dataclasses import replace

from mallard_client.driver.reporting.reports import Report
from mallard_protocol.lifecycle import BEFORE_PICKUP, Step
from mallard_protocol.messages import Reply, SocketJob

_LAST_STEPS = frozenset({Step.DELIVERED, Step.RETURNED})
# More jobs than a driver ends while writes may still be lost.
_MAX_ENDED = 50


class EndedJobs:
    """The last steps of jobs that the engine has confirmed."""

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
