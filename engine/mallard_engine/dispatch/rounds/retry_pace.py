"""The pace at which a node tries jobs without a driver again.

Each try is a call of its own, so the rate must not grow with the jobs that wait. It is bounded over
all malls: a bound for each would add up in a market with many.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

FULL_RATE_JOBS: Final = 1_024
"""Up to this number, all jobs are retried every `retry_s`; with more, each is less often."""
# A mall whose rounds another node has taken over since is no longer counted.
_KNOWN_FOR_S: Final = 300.0


class RetryPace:
    """Counts the jobs that wait at each mall of a node. `clock`: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # By mall: the jobs that wait, and when that was read; the oldest reading first.
        self._waiting: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._total = 0

    def note(self, mall: str, jobs: int) -> None:
        """Note how many jobs wait at a mall."""
        now_s = self._clock()
        self._remove(mall)
        while self._waiting:
            oldest, (_, at_s) = next(iter(self._waiting.items()))
            if now_s - at_s < _KNOWN_FOR_S:
                break
            self._remove(oldest)
        if jobs:
            self._waiting[mall] = jobs, now_s
            self._total += jobs

    @property
    def factor(self) -> float:
        """By what the time between two tries of a job is multiplied."""
        return max(1.0, self._total / FULL_RATE_JOBS)

    def _remove(self, mall: str) -> None:
        jobs, _ = self._waiting.pop(mall, (0, 0.0))
        self._total -= jobs
