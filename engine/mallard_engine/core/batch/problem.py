"""What a batch's problem is made of: jobs, drivers, what seconds are worth, and its plans."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mallard_engine.core.matching.ranking import MatchPolicy, Ranking
from mallard_engine.core.model import Driver, Waiting
from mallard_engine.core.places.mall import Mall


class PlanWeights(Protocol):
    """What a plan's seconds are worth; see ``PlanCosts`` in the configuration."""

    @property
    def age(self) -> float:
        """How much more a second of lateness counts for each hour since the parcel was ready."""
        ...

    @property
    def left(self) -> float:
        """A second since the parcel was ready, for a job that is left without a driver."""
        ...

    @property
    def haul(self) -> float:
        """Off that, for each second of its way to the door."""
        ...

    @property
    def travel(self) -> float:
        """A second on the way to the mall."""
        ...

    @property
    def wait(self) -> float:
        """A second's wait for the parcel."""
        ...

    @property
    def soon(self) -> float:
        """A second until the driver is free."""
        ...

    @property
    def delay(self) -> float:
        """A second that a job of a bundle is longer on its way than alone."""
        ...


class BatchPolicy(MatchPolicy, Protocol):
    """What a batch needs besides of a market's policy; see ``MarketPolicy`` for the units."""

    @property
    def window_ms(self) -> int:
        """How long a batch collects."""
        ...

    @property
    def wave_s(self) -> float:
        """Jobs that are ready within this time of one another share a wave."""
        ...

    @property
    def fading_s(self) -> float:
        """How long before hardly anybody can take a job, as blocks end, it goes out at once."""
        ...

    @property
    def waves(self) -> int:
        """How many waves there are; the last takes the rest."""
        ...

    @property
    def deals(self) -> int:
        """In how many ways jobs are dealt out in waves; the cheapest plan is taken."""
        ...

    @property
    def bundle_jobs(self) -> int:
        """How many jobs of one mall are planned for one driver together, at the most."""
        ...

    @property
    def max_run_jobs(self) -> int:
        """How many jobs a driver may have at once, at the most."""
        ...

    @property
    def plan(self) -> PlanWeights:
        """What a plan's seconds are worth."""
        ...


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
