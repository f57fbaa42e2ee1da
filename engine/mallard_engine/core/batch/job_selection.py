"""Selects the jobs of a batch when more jobs are queued than it may plan.

Services take turns (round robin); within a service, priority and ready time decide. Jobs that got
no driver although drivers were left go behind the others until all have been tried: otherwise many
jobs that no driver can take would starve the rest. Where drivers are scarce, no job goes behind.
"""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

from mallard_engine.core.batch.problem import BatchDriver, BatchJob, Plan
from mallard_engine.core.matching.service_turns import round_robin


class JobSelection:
    """The selection state of one market: jobs left out of the last batch, and jobs tried in vain.

    Empty while all jobs fit into a batch. `most` is the number of jobs in a batch.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._left_out: list[str] = []
        self._in_vain: set[str] = set()

    @property
    def in_vain(self) -> AbstractSet[str]:
        """The jobs that were planned without finding a driver."""
        return self._in_vain

    @property
    def left_some_out(self) -> bool:
        """Whether the last batch left jobs out."""
        return bool(self._left_out)

    def first(self, jobs: list[BatchJob]) -> list[BatchJob]:
        """Return the jobs of the next batch; all of them, in the given order, if they fit."""
        if len(jobs) <= self._most:
            self.forget()
            return jobs
        if self._in_vain.issuperset(job.waiting.job for job in jobs):
            self._in_vain.clear()
        in_turn = [
            job
            for behind in (False, True)
            for job in round_robin(
                [job for job in jobs if (job.waiting.job in self._in_vain) == behind],
                lambda job: job.waiting,
                _urgency,
            )
        ]
        self._left_out = [job.waiting.job for job in in_turn[self._most :]]
        return in_turn[: self._most]

    def planned(
        self, jobs: Sequence[BatchJob], drivers: Sequence[BatchDriver], plans: Sequence[Plan]
    ) -> bool:
        """Record which jobs got no driver; return whether others should be tried at once."""
        if not self._left_out or len({plan.driver for plan in plans}) == len(drivers):
            return False
        taken = {job.waiting.job for plan in plans for job in plan.jobs}
        in_vain = {job.waiting.job for job in jobs} - taken
        self._in_vain |= in_vain
        return bool(in_vain) and not self._in_vain.issuperset(self._left_out)

    def keep(self, waiting: Collection[str]) -> None:
        """Forget the jobs that are not among these."""
        self._in_vain.intersection_update(waiting)

    def forget(self) -> None:
        """Reset: no job was left out."""
        self._left_out.clear()
        self._in_vain.clear()


def _urgency(job: BatchJob) -> tuple[int, ...]:
    return -job.waiting.need.priority, job.waiting.need.ready_ms
