"""The port of matching: what a round reads, and the offers that it makes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mallard_engine.core.model import Near, RankedDriver, RoundRecord, Vehicle, Waiting
from mallard_engine.ports.drivers import Answered
from mallard_engine.ports.effects import Effects, LateJob
from mallard_engine.ports.jobs import JobRef

# The most drivers on their way to a mall that are considered for one more job.
MOST_COMING = 64


@dataclass(frozen=True, slots=True)
class Found:
    """What a round of a mall reads.

    Attributes:
        now_ms: When it was read.
        waiting: Queued jobs, those of each service by priority and age.
        waiting_total: How many jobs wait at the mall.
        near: Free drivers who hold no job, by distance.
        radius_m: The radius of the search.
        more: There are more drivers in that radius than were asked for.
        holds: Until when stores of the market are held, by mall/store.
        coming: At most `MOST_COMING` drivers on their way to the mall who could take one more job
            from it, unordered; ``jobs`` are those that they hold. Empty in a market that does not
            pool.
        after: The last service that was read, if more wait than one call reads.
    """

    now_ms: int
    waiting: tuple[Waiting, ...]
    waiting_total: int
    near: tuple[Near, ...]
    radius_m: float
    more: bool
    holds: Mapping[str, int]
    coming: tuple[Near, ...] = ()
    after: str = ""


@dataclass(frozen=True, slots=True)
class Fitting:
    """Queued jobs that one of the vehicles could take.

    ``low``: where to continue; None: the whole queue has been read.
    """

    jobs: tuple[Waiting, ...]
    low: str | None


@dataclass(frozen=True, slots=True)
class MarketQueue:
    """The queue of a market as (mall, job), by priority and age; ``total``: how many wait."""

    now_ms: int
    jobs: tuple[tuple[str, Waiting], ...]
    total: int


@dataclass(frozen=True, slots=True)
class FreeDrivers:
    """Free drivers around several points; their ``distance_m`` is 0.

    ``coming``: as in `Found`, for the malls that were named.
    """

    now_ms: int
    near: tuple[Near, ...]
    coming: tuple[Near, ...] = ()


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job of a plan, at the attempt under which it waits.

    ``record`` is its round, for ``explain``. ``etas``: for each driver of the plan, in order, when
    this job would be picked up and dropped off (epoch ms). Empty: the driver's own times, which are
    right for a run of one job.
    """

    job: str
    attempt: int
    record: RoundRecord
    etas: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class MoreOffers:
    """A staggered round: up to ``most`` drivers of a plan are offered its job.

    Each offer follows ``gap_ms`` after the one before (0: all at once). ``offers`` are their ids.
    """

    most: int
    gap_ms: int
    offers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OfferPlan:
    """One or more jobs of a mall, and the drivers to offer them to, best first.

    The storage offers all jobs to the first driver who may still be offered them, or none: only if
    every job still waits at its attempt. A driver who holds nothing takes as many jobs as its
    vehicle has room for (the vehicle's ``max_jobs``, the market's ``max_run_jobs``, weight, volume,
    equipment). A driver on its way to this mall takes one more job; a plan of several jobs skips
    it. The ranking, not the storage, checks that the first job fits an empty vehicle.

    Attributes:
        offer: The offer's id.
        mall: The mall.
        jobs: In the order of their drop-offs.
        drivers: The drivers, best first.
        more: Offer the one job of the plan to several drivers in one round.
    """

    offer: str
    mall: str
    jobs: tuple[PlannedJob, ...]
    drivers: tuple[RankedDriver, ...]
    more: MoreOffers | None = None


@dataclass(frozen=True, slots=True)
class Offered:
    """The result of a plan.

    ``verdict``: ``offered``; ``nobody`` (no driver of the plan may be offered it now);
    ``gone`` (the jobs in ``dequeued`` no longer wait at that attempt, so none was offered);
    ``paused`` (an operator has paused matching there).
    """

    verdict: str
    driver: str | None
    effects: Effects
    dequeued: tuple[str, ...] = ()


class Offers(Protocol):
    """What a round reads, the offers that it makes, and the drivers' answers to them."""

    async def candidates(
        self,
        market: str,
        mall: str,
        lat: float,
        lon: float,
        *,
        radius_m: float,
        max_radius_m: float,
        drivers: int,
        jobs: int,
        named: Sequence[str] = (),
        after: str = "",
    ) -> Found:
        """Read the queued jobs of a mall and the free drivers near it. Writes nothing.

        In a market that pools (``max_run_jobs`` over 1) it also reads drivers on their way to the
        mall who could take one more job.

        Args:
            market: The market.
            mall: The mall.
            lat: The centre of the search.
            lon: The centre of the search.
            radius_m: The radius of the first search; it grows until it holds enough drivers.
            max_radius_m: The largest radius.
            drivers: How many drivers are enough.
            jobs: How many jobs to read, about: of more, the first ones of each service.
            named: Jobs to read wherever they stand in the queue.
            after: Of very many services, start after this one.
        """

    async def waiting_that_fit(
        self, market: str, mall: str, vehicles: Collection[Vehicle], low: str, high: str
    ) -> Fitting:
        """Read the queued jobs of a mall that one of the vehicles could take.

        Decides by weight, volume and equipment. Reads a bounded part of the queue, of the names
        from ``low`` to ``high`` (written as Redis writes such bounds). Writes nothing.
        """

    async def queue_of(self, market: str, limit: int, named: Sequence[str] = ()) -> MarketQueue:
        """Read the queued jobs of a whole market. Writes nothing.

        Of more than ``limit`` it reads about ``limit``, and others with the next call; those
        ``named`` with each call.
        """

    async def free_around(
        self,
        market: str,
        points: Sequence[tuple[float, float]],
        *,
        radius_m: float,
        max_radius_m: float,
        drivers: int,
        most: int,
        malls: Sequence[str] = (),
    ) -> FreeDrivers:
        """Read the free drivers around points, the ``drivers`` nearest of each. Writes nothing.

        Reads all free drivers where there are at most ``most``, and never more than that. In a
        market that pools it also reads drivers on their way to one of the ``malls`` who could take
        one more job.
        """

    async def make(self, plan: OfferPlan) -> Offered:
        """Offer all jobs of a plan to the first of its drivers who may still be offered them."""

    async def reassign(self, late: LateJob, plan: OfferPlan) -> Offered:
        """Offer a held job to a better driver, and take it off its holder, in one step.

        The offer goes to the first driver of the plan who may be offered it. ``gone``: the holder
        is connected again, or its attempt is over; ``nobody``: no driver may; the holder keeps it.
        """

    async def withdraw(self, ref: JobRef, offer: str, actor: str) -> Effects:
        """Withdraw a live offer. ``ref`` is any of its jobs; they return to the queue."""

    async def record_round(self, market: str, record: RoundRecord) -> None:
        """Store a round for ``explain``. Off the hot path."""

    async def last_round(self, job: str) -> RoundRecord | None:
        """Return the last round that was stored for a job."""

    async def ack(self, market: str, driver: str, offer: str) -> Effects:
        """Acknowledge an offer.

        Raises:
            Refused: ``offer_closed`` or ``not_yours``.
        """

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """Accept an offer.

        Raises:
            Refused: ``offer_closed`` or ``not_yours``.
        """

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """Decline an offer.

        Raises:
            Refused: ``offer_closed`` or ``not_yours``.
        """

    async def first_job(self, market: str, offer: str) -> JobRef | None:
        """Return the first job of an offer; None if there is no such offer."""
