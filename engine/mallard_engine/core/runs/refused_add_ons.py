"""The add-ons that did not pay, by driver on the way: they are not tried again.

Where many drivers are on their way, most of a plan is spent on jobs that were tried with the last
one. Neither the detour nor the room changes while the run and the block stay as they are, and
deadlines only come nearer.
"""

from collections.abc import Iterable
from math import isinf
from typing import TypeAlias

from mallard_engine.core.model import HeldJob, Vehicle, Waiting
from mallard_engine.core.runs.run import RunDriver

# The vehicle, its jobs, and the last second for a drop-off.
_Run: TypeAlias = tuple[Vehicle, tuple[HeldJob, ...], float]


class RefusedAddOns:
    """What the plans of one mall have tried for each driver who is still on its way there."""

    def __init__(self) -> None:
        # By driver: its run, and the jobs that did not pay, by `mark_of`.
        self._tried: dict[str, tuple[_Run, set[int]]] = {}

    def __len__(self) -> int:
        """The number of drivers."""
        return len(self._tried)

    def keep(self, coming: Iterable[RunDriver]) -> None:
        """Forget all drivers but these."""
        self._tried = {
            driver.driver: self._tried[driver.driver]
            for driver in coming
            if driver.driver in self._tried
        }

    def of(self, driver: RunDriver, now_ms: int) -> set[int]:
        """Return the marks of the jobs that did not pay with the driver's run; to be added to."""
        until_s = driver.until_s + now_ms / 1000
        run = driver.vehicle, driver.carried, until_s if isinf(until_s) else round(until_s)
        known = self._tried.get(driver.driver)
        if known is None or known[0] != run:
            known = self._tried[driver.driver] = run, set()
        return known[1]


def mark_of(job: Waiting) -> int:
    """Return what stands for the job as it is: after a change of its order it is another."""
    return hash((job.job, job.attempt, job.need))
