"""Closed sockets on their way to the store: those of one moment go in one call."""

import structlog

from engine.dispatch.context import Follow, Tasks
from engine.ports import Store, StoreUnavailable

_log = structlog.get_logger(__name__)

_BATCH = 256


class Disconnects:
    """Tells the store which drivers' sockets have closed. Without a store they are kept and told
    later; if this node dies first, its lease runs out and the others take them out."""

    def __init__(self, store: Store, node: str, follow: Follow, tasks: Tasks) -> None:
        self._store = store
        self._node = node
        self._follow = follow
        self._tasks = tasks
        self._closed: dict[str, dict[str, int]] = {}
        self._flushing = False

    def __len__(self) -> int:
        return sum(map(len, self._closed.values()))

    def add(self, market: str, driver: str, epoch: int) -> None:
        """A driver's socket of that epoch has closed."""
        epochs = self._closed.setdefault(market, {})
        epochs[driver] = max(epoch, epochs.get(driver, 0))
        if not self._flushing:
            self._flushing = True
            self._tasks.start(self.flush(), "disconnects")

    async def flush(self) -> None:
        """Tell the store about all of them."""
        self._flushing = True
        try:
            while self._closed:
                market = next(iter(self._closed))
                batch = list(self._closed[market].items())[:_BATCH]
                effects = await self._store.disconnect(market, self._node, batch)
                self._forget(market, batch)
                self._follow(market, effects)
        except StoreUnavailable as error:
            _log.warning("disconnects not told yet", waiting=len(self), error=str(error))
        finally:
            self._flushing = False

    def _forget(self, market: str, batch: list[tuple[str, int]]) -> None:
        epochs = self._closed[market]
        for driver, epoch in batch:
            if epochs.get(driver) == epoch:
                del epochs[driver]
        if not epochs:
            del self._closed[market]
