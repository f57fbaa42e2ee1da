"""What a batch's problem is made of: jobs, drivers, what seconds are worth, and its plans."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mallard_engine.core.matching.ranking import Ranking
from mallard_engine.core.model import Driver, Waiting
from mallard_engine.core.places.mall import Mall


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A job that waits, and where."""

    waiting: Waiting
    mall: Mall


@dataclass(frozen=True, slots=True)
class BatchDriver:
    """A driver, from when it is free, and where it is then. ``free_ms`` 0: it is free now."""

    driver: Driver
    lat: float
    lon: float
    free_ms: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A job and the driver that it is best given to. ``depart_ms``: when the driver must set off,
    at the latest, not to be late for the parcel; past if it is late already. ``now``: the driver is
    free now and this would be its next job. ``ranking``: works out whom to ask, with the terms of
    the cost; most plans are carried over, and then nobody wants to know. ``fading``: hardly anybody
    could take the job a little later, as blocks end, so that a refusal would come too late.
    ``bundle``: all jobs that it would collect together, in the order of their drop-offs, and when
    each is handed over (epoch ms); ``job`` is the first."""

    job: BatchJob
    driver: str
    depart_ms: int
    now: bool
    ranking: Callable[[], Ranking] = field(compare=False, repr=False)
    fading: bool = False
    bundle: tuple[tuple[BatchJob, int], ...] = ()

    @property
    def jobs(self) -> tuple[BatchJob, ...]:
        """The job, or all jobs of the bundle."""
        return tuple([job for job, _ in self.bundle]) if self.bundle else (self.job,)
