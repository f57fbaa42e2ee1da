"""Whose turn it is in a batch where more jobs wait than one takes.

Services take turns; of each the most urgent go first, by priority and by when they are ready. Those
that nobody took, though drivers were left, go behind the others until all have had a turn: else
many whom nobody here can take would keep out all. Where drivers lack, nobody goes behind: then
turns, priority and age say who comes first.
"""

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet

from mallard_engine.core.batch.problem import BatchDriver, BatchJob, Plan
from mallard_engine.core.matching.service_turns import round_robin


class JobSelection:
    """Of one market, what its last batches left out and tried in vain; empty where all have
    room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left_out: list[str] = []
        self._in_vain: set[str] = set()

    @property
    def in_vain(self) -> AbstractSet[str]:
        """The jobs that nobody took."""
        return self._in_vain

    @property
    def left_some_out(self) -> bool:
        """Whether the last batch had no room for all."""
        return bool(self._left_out)

    def first(self, jobs: list[BatchJob]) -> list[BatchJob]:
        """As many of the jobs as one batch takes; all of them in the order given if they have
        room."""
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
        """Note whom the plan of these jobs has nobody for; whether others should be tried now."""
        if not self._left_out or len({plan.driver for plan in plans}) == len(drivers):
            return False
        taken = {job.waiting.job for plan in plans for job in plan.jobs}
        in_vain = {job.waiting.job for job in jobs} - taken
        self._in_vain |= in_vain
        return bool(in_vain) and not self._in_vain.issuperset(self._left_out)

    def keep(self, waiting: Collection[str]) -> None:
        """Only these jobs wait still."""
        self._in_vain.intersection_update(waiting)

    def forget(self) -> None:
        """Nobody was left out."""
        self._left_out.clear()
        self._in_vain.clear()


def _urgency(job: BatchJob) -> tuple[int, ...]:
    return -job.waiting.need.priority, job.waiting.need.ready_ms
