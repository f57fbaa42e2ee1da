"""New and due jobs, which the next rounds read wherever they stand in the queue."""

from dataclasses import dataclass
from itertools import islice
from typing import Final

# New and due jobs that one round reads.
_MOST_NAMED: Final = 256


@dataclass(frozen=True, slots=True)
class Named:
    """What one round was started for. ``is_partial``: it may look at these jobs alone."""

    new: tuple[str, ...]
    due: tuple[str, ...]
    is_partial: bool

    @property
    def jobs(self) -> tuple[str, ...]:
        """New and due jobs, the new ones first: thousands may fall due at once."""
        return self.new + self.due


class NamedJobs:
    """The new and due jobs of one mall, and whether its next round must look at all jobs."""

    def __init__(self) -> None:
        self._new: dict[str, None] = {}
        self._due: dict[str, None] = {}
        self._for_all = False
        self.is_long = False
        """Whether so many jobs wait that a round for new ones looks at these first."""

    def __len__(self) -> int:
        return len(self._new) + len(self._due)

    def note(self, job: str, due: str, *, driver: bool) -> None:
        """Note what the next round is started for. See `MallRounds.wake`."""
        if due:
            self._due[due] = None
        elif driver or not job or not self.is_long:
            self._for_all = True
        if job:
            self._new[job] = None

    def look_at_all(self) -> None:
        """Let the next round look at all jobs."""
        self._for_all = True

    def take(self) -> Named:
        """Return what the next round is started for, up to a limit. The others remain."""
        named = Named(
            tuple(take(self._new, _MOST_NAMED)),
            tuple(take(self._due, _MOST_NAMED)),
            is_partial=not self._for_all,
        )
        self._for_all = bool(self._new) and not self.is_long
        return named


def take(jobs: dict[str, None], most: int) -> list[str]:
    """Remove and return the first jobs, at most `most`."""
    taken = list(islice(jobs, most))
    for job in taken:
        del jobs[job]
    return taken
