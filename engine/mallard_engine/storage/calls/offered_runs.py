"""The jobs of the offers that this node knows."""

from dataclasses import dataclass

from mallard_engine.ports import JobRef

# The jobs of an offer that is not in memory cost one round trip.
_MAX_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class OfferedRun:
    """The jobs of an offer, in drop-off order, and their mall."""

    jobs: tuple[str, ...]
    mall: str

    @property
    def first(self) -> JobRef:
        """Its first job."""
        return JobRef(self.jobs[0], self.mall)


class OfferedRuns:
    """A bounded memory of the jobs of each offer.

    A transition must declare the keys of all its jobs, but a driver's answer names only the offer.
    """

    def __init__(self) -> None:
        self._runs: dict[str, OfferedRun] = {}

    def get(self, offer: str) -> OfferedRun | None:
        """The jobs of an offer; None if they are not in memory."""
        return self._runs.get(offer)

    def add(self, offer: str, run: OfferedRun) -> OfferedRun:
        """Keep the jobs of an offer, and return them. The oldest entry makes room."""
        if len(self._runs) >= _MAX_REMEMBERED:
            del self._runs[next(iter(self._runs))]
        self._runs[offer] = run
        return run
