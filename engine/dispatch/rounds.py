"""The rounds of every mall, and what wakes them."""

from collections.abc import Iterable

import structlog

from engine.dispatch.context import Context, Follow, Tasks
from engine.dispatch.finishing import Finishing
from engine.dispatch.mall_rounds import MallRounds
from engine.dispatch.market_rounds import MarketRounds
from engine.dispatch.roster import Roster
from engine.dispatch.run_rounds import RunRounds
from engine.ports import StoreUnavailable

_log = structlog.get_logger(__name__)


class Rounds:
    """Gives malls their rounds. ``follow`` hastens what each offer brought about."""

    def __init__(self, context: Context, follow: Follow, tasks: Tasks) -> None:
        self._context = context
        self._follow = follow
        self._tasks = tasks
        self._malls: dict[str, MallRounds] = {}
        self.finishing = Finishing(context)
        self.roster = Roster(context)
        self._batches = {
            market: MarketRounds(context, market, follow, tasks, self.finishing, self.roster)
            for market, policy in context.policies.items()
            if policy.round == "batch"
        }
        # By market: malls near which a driver has just become free.
        self._freed_near: dict[str, set[str]] = {}

    def __len__(self) -> int:
        """How many jobs are remembered."""
        return sum(map(len, self._malls.values())) + sum(map(len, self._batches.values()))

    def at(self, mall: str) -> MallRounds:
        """The rounds of a mall. :raises KeyError: if there is no such mall"""
        if mall not in self._malls:
            place = self._context.places.mall(mall)
            kind = RunRounds if self._context.policy(place.market).plans_runs else MallRounds
            self._malls[mall] = kind(self._context, place, self._follow, self._tasks)
        return self._malls[mall]

    def may_look_early(self, mall: str) -> bool:
        """Whether a job of the mall may find its driver alone: not where its market's jobs go
        through batches, or are pooled."""
        market = self._market_of(mall)
        return market not in self._batches and not self._context.policy(market).plans_runs

    def wake(self, mall: str) -> None:
        """Give the mall a round now, or right after the one under way; or its market a batch."""
        batch = self._batches.get(self._market_of(mall)) if self._batches else None
        if batch is not None:
            batch.wake()
        else:
            self.at(mall).wake()

    def wake_waiting(self, market: str, malls: Iterable[str]) -> None:
        """Give those of the malls a round at which jobs wait: a driver became free near them."""
        if (batch := self._batches.get(market)) is not None:
            batch.wake()
            return
        near = self._freed_near.get(market)
        if near is not None:
            near.update(malls)
        elif malls := set(malls):
            self._freed_near[market] = malls
            self._tasks.start(self._wake_waiting(market), f"wake {market}")

    def _market_of(self, mall: str) -> str:
        return self._context.places.mall(mall).market

    async def _wake_waiting(self, market: str) -> None:
        # This runs one turn later: a batch of positions or a sweep frees many drivers at once.
        # Sorted, as the order of a set is another in every process.
        malls = tuple(sorted(self._freed_near.pop(market)))
        try:
            counts = await self._context.store.waiting(market, malls)
        except StoreUnavailable as error:
            _log.debug("malls not woken", market=market, error=str(error))
            return
        for mall, count in zip(malls, counts, strict=True):
            if count:
                self.wake(mall)
