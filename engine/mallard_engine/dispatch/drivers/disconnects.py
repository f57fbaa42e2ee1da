"""Reports closed sockets to the storage, in batches."""

import asyncio

import structlog

from mallard_engine.dispatch.context import ApplyEffects, Tasks
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import Drivers, StoreUnavailable

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)

_BATCH = 256
_AGAIN_S = 0.5


class Disconnects:
    """Closed sockets that the storage does not know of yet.

    They are kept until the storage can be reached. If this node dies first, its lease expires and
    other nodes take its drivers out of matching.
    """

    def __init__(
        self, drivers: Drivers, node: str, apply_effects: ApplyEffects, tasks: Tasks
    ) -> None:
        self._drivers = drivers
        self._node = node
        self._apply_effects = apply_effects
        self._tasks = tasks
        # By market: the newest closed epoch of each driver.
        self._closed: dict[str, dict[str, int]] = {}
        self._is_sending = False
        self._one_at_a_time = asyncio.Lock()

    def __len__(self) -> int:
        return sum(map(len, self._closed.values()))

    def add(self, market: str, driver: str, epoch: int) -> None:
        """Note that a driver's socket of an epoch has closed."""
        epochs = self._closed.setdefault(market, {})
        epochs[driver] = max(epoch, epochs.get(driver, 0))
        if not self._is_sending:
            self._is_sending = True
            self._tasks.start(self._send(), "disconnects")

    def drop(self, market: str, driver: str) -> None:
        """Forget the closed socket of a driver whose new hello replaces it.

        After lost writes the storage may issue an epoch again: the report of the old close would
        then disconnect the new socket.
        """
        epochs = self._closed.get(market, {})
        epochs.pop(driver, None)
        if not epochs:
            self._closed.pop(market, None)

    async def flush(self) -> bool:
        """Report all closed sockets now; return False if the storage cannot be reached."""
        async with self._one_at_a_time:
            try:
                while self._closed:
                    market, epochs = next(iter(self._closed.items()))
                    batch = list(epochs.items())[:_BATCH]
                    effects = await self._drivers.disconnect(market, self._node, batch)
                    self._sent(market, batch)
                    self._apply_effects(market, effects)
            except StoreUnavailable as error:
                _often.warning("closed sockets not reported: storage unavailable", error=str(error))
                return False
        return True

    async def _send(self) -> None:
        try:
            sent = await self.flush()
            while not sent:
                await asyncio.sleep(_AGAIN_S)
                sent = await self.flush()
        finally:
            self._is_sending = False

    def _sent(self, market: str, batch: list[tuple[str, int]]) -> None:
        epochs = self._closed.get(market, {})
        for driver, epoch in batch:
            if epochs.get(driver) == epoch:
                del epochs[driver]
        if not epochs:
            self._closed.pop(market, None)
