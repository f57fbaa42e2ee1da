"""Round robin between the order services whose jobs are queued at one place.

In each cycle, every service with a job that can be served gets one. Within a service, priority and
age decide. Across services, priority decides only the order within a cycle, so a service can get
ahead of another by one job a cycle at most (ADR 0043).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mallard_engine.core.model import Waiting

T = TypeVar("T")


def round_robin(
    items: Iterable[T],
    waiting: Callable[[T], Waiting],
    own: Callable[[T], tuple[int, ...]],
    had_turn: Iterable[str] = (),
) -> list[T]:
    """Sort items by round robin between their services.

    Args:
        items: What is sorted.
        waiting: Returns an item's job.
        own: The sort key within a service; it begins with the negated priority.
        had_turn: The services that have been served in this cycle.
    """
    of_service: dict[str, list[T]] = {}
    for item in items:
        of_service.setdefault(waiting(item).service, []).append(item)
    if len(of_service) == 1:
        return sorted(*of_service.values(), key=own)
    had = frozenset(had_turn)
    turns: list[tuple[int, tuple[int, ...], int, T]] = []
    for service, theirs in of_service.items():
        theirs.sort(key=own)
        first = int(service in had)
        turns += [(first + n, own(item), len(turns) + n, item) for n, item in enumerate(theirs)]
    turns.sort(key=lambda turn: turn[:3])
    return [item for *_, item in turns]


class ServiceTurns:
    """The services of one mall that have been served in the current cycle."""

    def __init__(self) -> None:
        self._had: set[str] = set()

    def order(self, jobs: Sequence[Waiting]) -> list[Waiting]:
        """Return the jobs in the order in which to serve them."""
        return round_robin(jobs, _itself, _priority, self._had)

    def served(self, service: str) -> None:
        """Record that a job of this service was served; a second one begins the next cycle."""
        if service in self._had:
            self._had.clear()
        self._had.add(service)

    def forget(self) -> None:
        """Reset the cycle, because no job is queued now."""
        self._had.clear()


def _itself(job: Waiting) -> Waiting:
    return job


def _priority(job: Waiting) -> tuple[int, ...]:
    # Jobs come from Redis in the order of their age, by its clock.
    return (-job.need.priority,)
