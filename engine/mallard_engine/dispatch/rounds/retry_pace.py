"""When a node tries jobs without a driver again.

What makes a job servable starts a round by itself: a driver who becomes free or comes into reach,
the end of a bar, an opening, the end of a pause. Retries only recover wake-ups that were lost, so
their rate over all malls is bounded (ADR 0138): with more waiting jobs each is tried less often.
The retries of a mall's jobs fall on common times, so that one round serves many of them.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from zlib import crc32

RETRIES_A_SECOND: Final = 5.0
"""The most retries a second of all malls of a node."""
STORAGE_AWAY_S: Final = 1.0
"""The pause before what an unavailable storage has interrupted is repeated."""
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

    def again_ms(self, mall: str, job: str, now_ms: int, retry_ms: int) -> int:
        """Return when the job is tried again: after `retry_ms`, or later if many jobs wait.

        The jobs are spread over as many periods of `retry_ms` as the rate requires, and those of a
        mall that share a period fall due together, half to one and a half periods from now at the
        soonest. A job that waits alone is tried after `retry_ms`.
        """
        periods = max(1, math.ceil(self._total * 1000 / (RETRIES_A_SECOND * retry_ms)))
        at_mall, _ = self._waiting.get(mall, (0, 0.0))
        if at_mall <= 1 and periods == 1:
            return now_ms + retry_ms
        offset_ms = crc32(mall.encode()) % retry_ms
        following = (now_ms + retry_ms // 2 - offset_ms) // retry_ms + 1
        following += (crc32(job.encode()) - following) % periods
        return following * retry_ms + offset_ms

    def _remove(self, mall: str) -> None:
        jobs, _ = self._waiting.pop(mall, (0, 0.0))
        self._total -= jobs
