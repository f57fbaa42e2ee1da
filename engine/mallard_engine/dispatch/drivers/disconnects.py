"""Closed sockets on their way to the store: those of one moment go in one call."""

import asyncio

import structlog

from mallard_engine.dispatch.context import ApplyEffects, Tasks
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import Drivers, StoreUnavailable

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)

_BATCH = 256
_AGAIN_S = 0.5


class Disconnects:
    """Tells the store which drivers' sockets have closed. Without a store they are kept and told
    as soon as there is one; if this node dies first, its lease runs out and the others take them
    out of matching."""

    def __init__(
        self, drivers: Drivers, node: str, apply_effects: ApplyEffects, tasks: Tasks
    ) -> None:
        self._drivers = drivers
        self._node = node
        self._apply_effects = apply_effects
        self._tasks = tasks
        # By market: the newest closed epoch of each driver.
        self._closed: dict[str, dict[str, int]] = {}
        self._telling = False
        self._one_at_a_time = asyncio.Lock()

    def __len__(self) -> int:
        return sum(map(len, self._closed.values()))

    def add(self, market: str, driver: str, epoch: int) -> None:
        """A driver's socket of that epoch has closed."""
        epochs = self._closed.setdefault(market, {})
        epochs[driver] = max(epoch, epochs.get(driver, 0))
        if not self._telling:
            self._telling = True
            self._tasks.start(self._tell(), "disconnects")

    def drop(self, market: str, driver: str) -> None:
        """The driver says hello here again, which replaces whatever socket the store knows of.
        After lost writes it may get an epoch that was used before: an old close must not name it.
        """
        epochs = self._closed.get(market, {})
        epochs.pop(driver, None)
        if not epochs:
            self._closed.pop(market, None)

    async def flush(self) -> bool:
        """Tell the store about all of them now; False if it cannot be told."""
        async with self._one_at_a_time:
            try:
                while self._closed:
                    market, epochs = next(iter(self._closed.items()))
                    batch = list(epochs.items())[:_BATCH]
                    effects = await self._drivers.disconnect(market, self._node, batch)
                    self._told(market, batch)
                    self._apply_effects(market, effects)
            except StoreUnavailable as error:
                _often.warning("disconnects not stored yet", error=str(error))
                return False
        return True

    async def _tell(self) -> None:
        try:
            told = await self.flush()
            while not told:
                await asyncio.sleep(_AGAIN_S)
                told = await self.flush()
        finally:
            self._telling = False

    def _told(self, market: str, batch: list[tuple[str, int]]) -> None:
        epochs = self._closed.get(market, {})
        for driver, epoch in batch:
            if epochs.get(driver) == epoch:
                del epochs[driver]
        if not epochs:
            self._closed.pop(market, None)
