"""Whose turn it is where the jobs of several services wait.

Services take turns: in each cycle every service with a job that can be served gets one. Within a
service its own priority and age decide. Across services priority decides only who goes first in a
cycle, so a service can outrank another by one job a cycle and no more (ADR 0020).
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
    """Order items, each with a job that waits, by turns of their services.

    ``own``: an item's rank among those of its service, which begins with its priority, negated.
    ``had_turn``: the services that have been served in this cycle.
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
    """Of one mall: the services that have been served in the cycle under way."""

    def __init__(self) -> None:
        self._had: set[str] = set()

    def order(self, jobs: Sequence[Waiting]) -> list[Waiting]:
        """The jobs in the order in which they are to be served."""
        return round_robin(jobs, _itself, _priority, self._had)

    def served(self, service: str) -> None:
        """A job of this service has been served; the second one begins the next cycle."""
        if service in self._had:
            self._had.clear()
        self._had.add(service)

    def forget(self) -> None:
        """No job waits any more."""
        self._had.clear()


def _itself(job: Waiting) -> Waiting:
    return job


def _priority(job: Waiting) -> tuple[int, ...]:
    # The store has them by age already; its clock is the one that counts.
    return (-job.need.priority,)
