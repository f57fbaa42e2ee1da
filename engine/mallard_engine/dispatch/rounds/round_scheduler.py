"""Starts the rounds of all malls."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from mallard_engine.core.places.meeting import is_meeting
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks
from mallard_engine.dispatch.drivers.upcoming_drivers import UpcomingDrivers
from mallard_engine.dispatch.rounds.batch.market_rounds import MarketRounds
from mallard_engine.dispatch.rounds.mall_rounds import MallRounds
from mallard_engine.dispatch.rounds.retry_pace import STORAGE_AWAY_S, RetryPace
from mallard_engine.dispatch.rounds.runs.run_rounds import RunRounds
from mallard_engine.ports import StoreUnavailable
from mallard_protocol.codes import ServiceLevel

_log = structlog.get_logger(__name__)

# If more drivers become free at once, the malls are not sorted by distance.
_FEW = 16
# Malls whose rounds start first; then twice as many each time, while a driver is still free. With
# fewer malls none waits for another.
_MALLS_AT_FIRST = 16
# A long or paused round at one mall delays the next malls by no more than this.
_PATIENCE_S = 0.25
# Meeting places whose rounds are kept; those of others begin again with the next retry.
_MOST_MEETINGS = 64


@dataclass(slots=True)
class _Freed:
    """Drivers who became free in one turn of the loop, where they are, and the malls in reach."""

    malls: set[str] = field(default_factory=set)
    points: dict[str, tuple[float, float]] = field(default_factory=dict)


class RoundScheduler:
    """Starts rounds. ``apply_effects`` is called with the effects of each offer."""

    def __init__(self, context: Context, apply_effects: ApplyEffects, tasks: Tasks) -> None:
        self._context = context
        self._apply_effects = apply_effects
        self._tasks = tasks
        self._malls: dict[str, MallRounds] = {}
        self._pace = RetryPace(context.runtime.clock)
        # Of meeting places, which come and go: those in use.
        self._meetings: dict[str, MallRounds] = {}
        self.upcoming = UpcomingDrivers(context)
        self._batches = self._made_batches()
        # By market: the drivers who have just become free.
        self._freed: dict[str, _Freed] = {}

    def renew(self) -> None:
        """Discard all rounds, after a reload.

        Running rounds end beside the new ones, as those of another node would: the storage decides
        between them.
        """
        self._malls, self._meetings = {}, {}
        self._batches = self._made_batches()

    def _made_batches(self) -> dict[str, MarketRounds]:
        return {
            market: MarketRounds(
                self._context, market, self._apply_effects, self._tasks, self.upcoming, self._pace
            )
            for market, policy in self._context.policies.items()
            if policy.round == "batch"
        }

    def __len__(self) -> int:
        """The number of jobs in memory."""
        at_malls = [*self._malls.values(), *self._meetings.values()]
        return sum(map(len, at_malls)) + sum(map(len, self._batches.values()))

    def at(self, mall: str) -> MallRounds:
        """Return the rounds of a mall.

        Raises:
            KeyError: There is no such mall.
        """
        if is_meeting(mall):
            return self._at_meeting(mall)
        if mall not in self._malls:
            place = self._context.places.mall(mall)
            kind = RunRounds if self._context.policy(place.market).plans_runs else MallRounds
            self._malls[mall] = kind(
                self._context, place, self._apply_effects, self._tasks, self._pace
            )
        return self._malls[mall]

    def _at_meeting(self, mall: str) -> MallRounds:
        """Return the rounds of a meeting place: of a single job, in every market."""
        if mall not in self._meetings:
            is_full = len(self._meetings) >= _MOST_MEETINGS
            self._meetings = {
                name: rounds
                for name, rounds in self._meetings.items()
                if rounds.is_running or (len(rounds) and not is_full)
            }
            place = self._context.places.mall(mall)
            self._meetings[mall] = MallRounds(
                self._context, place, self._apply_effects, self._tasks, self._pace
            )
        return self._meetings[mall]

    def may_speculate(self, mall: str, level: ServiceLevel) -> bool:
        """Return whether such an order may be offered singly and at once: no batch, no hold."""
        market = self._market_of(mall)
        policy = self._context.policy(market)
        may_hold = policy.plans_runs and policy.hold_max_s and level is ServiceLevel.SAME_DAY
        return market not in self._batches and not may_hold

    def wake(self, mall: str, job: str = "", *, due: str = "", driver: bool = False) -> None:
        """Start a round of the mall, or a batch of its market, now or after the running one.

        ``job``, ``due``, ``driver``: see `MallRounds.wake`.
        """
        batch = self._batches.get(self._market_of(mall)) if self._batches else None
        if batch is not None and not is_meeting(mall):
            batch.wake(job, due=due, driver=driver)
        else:
            self.at(mall).wake(job, due=due, driver=driver)

    def wake_waiting(
        self, market: str, malls: Iterable[str], points: Mapping[str, tuple[float, float]]
    ) -> None:
        """Start rounds of the malls at which jobs wait: drivers have become free near them.

        ``points``: where each driver is (latitude, longitude).
        """
        for meeting in self._meetings.values():
            if meeting.market == market and len(meeting):
                meeting.wake(driver=True)
        if (batch := self._batches.get(market)) is not None:
            batch.wake(driver=True)
            return
        freed = self._freed.get(market)
        if freed is None:
            if not (malls := set(malls)):
                return
            freed = self._freed[market] = _Freed()
            self._tasks.start(self._wake_waiting(market), f"wake {market}")
        freed.malls.update(malls)
        freed.points.update(points)

    def wake_all(self, market: str, *, driver: bool = False) -> None:
        """Start a round of every mall of the market at which jobs wait.

        ``driver``: see `MallRounds.wake`.
        """
        if (batch := self._batches.get(market)) is not None:
            batch.wake(driver=driver)
        else:
            self._tasks.start(self._wake_all(market, driver=driver), f"wake all of {market}")

    def _market_of(self, mall: str) -> str:
        return self._context.places.mall(mall).market

    async def _wake_waiting(self, market: str) -> None:
        # This runs one turn later: a batch of positions or a sweep frees many drivers at once.
        # Sorted, because the order of a set differs between processes.
        freed = self._freed.pop(market)
        malls = tuple(sorted(freed.malls))
        try:
            waiting = await self._waiting(market, malls)
            if len(freed.points) > _FEW:
                for mall in waiting:
                    self.wake(mall, driver=True)
                return
            # Malls compete for the drivers, and the first to offer gets them: nearest first.
            waiting.sort(key=lambda mall: self._nearest_m(mall, freed.points.values()))
            await self._wake_in_turn(market, waiting, tuple(freed.points))
        except StoreUnavailable as error:
            _log.debug("malls not woken: storage unavailable", market=market, error=str(error))
            # Retries alone would find these drivers much later.
            await asyncio.sleep(STORAGE_AWAY_S)
            self.wake_waiting(market, malls, freed.points)

    async def _wake_all(self, market: str, *, driver: bool) -> None:
        malls = tuple(self._context.places.market(market).malls)
        try:
            for mall in await self._waiting(market, malls):
                self.wake(mall, driver=driver)
        except StoreUnavailable as error:
            _log.debug("malls not woken: storage unavailable", market=market, error=str(error))
            await asyncio.sleep(STORAGE_AWAY_S)
            self.wake_all(market, driver=driver)

    async def _waiting(self, market: str, malls: Sequence[str]) -> list[str]:
        counts = await self._context.storage.jobs.waiting(market, malls)
        return [mall for mall, count in zip(malls, counts, strict=True) if count]

    async def _wake_in_turn(
        self, market: str, malls: Sequence[str], drivers: Sequence[str]
    ) -> None:
        """Wake the first few malls, and the others only while a driver is still free.

        A driver who got an offer wakes malls again once it is free again.
        """
        most = _MALLS_AT_FIRST
        while malls:
            woken, malls = malls[:most], malls[most:]
            rounds = [self.at(mall).next_round() for mall in woken] if malls else []
            for mall in woken:
                self.wake(mall, driver=True)
            if rounds:
                await asyncio.wait(rounds, timeout=_PATIENCE_S)
                if not await self._context.storage.drivers.any_free(market, drivers):
                    return
            most *= 2

    def _nearest_m(self, mall: str, points: Iterable[tuple[float, float]]) -> float:
        plane = self._context.places.mall(mall).plane
        return min(plane.distance_m(lat, lon) for lat, lon in points)
