"""Data of a batch problem: jobs, drivers and plans."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mallard_engine.core.matching.ranking import Ranking
from mallard_engine.core.model import Driver, Waiting
from mallard_engine.core.places.mall import Mall


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A queued job and its mall."""

    waiting: Waiting
    mall: Mall


@dataclass(frozen=True, slots=True)
class BatchDriver:
    """A driver, when it becomes free (`free_ms`, 0: now) and its position then, in degrees."""

    driver: Driver
    lat: float
    lon: float
    free_ms: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A job and the driver that the plan assigns to it.

    Attributes:
        job: The job; the first one of a bundle.
        driver: The driver's id.
        depart_ms: When the driver must set off to arrive as the parcel is ready; past if late.
        now: The driver is free now, and this is its next job.
        ranking: Computes the candidates with the terms of their cost. Lazy, as most plans are not
            acted upon in this round.
        fading: Hardly any driver could take the job a little later, as blocks end, so a refusal
            would come too late.
        bundle: All jobs that the driver would collect together, in the order of their drop-offs,
            each with its drop-off time (epoch ms); empty for a single job.
    """

    job: BatchJob
    driver: str
    depart_ms: int
    now: bool
    ranking: Callable[[], Ranking] = field(compare=False, repr=False)
    fading: bool = False
    bundle: tuple[tuple[BatchJob, int], ...] = ()

    @property
    def jobs(self) -> tuple[BatchJob, ...]:
        """All jobs of the bundle, or the single job."""
        return tuple([job for job, _ in self.bundle]) if self.bundle else (self.job,)
