"""Batches the position fixes of a market's drivers into calls to Redis.

One call to Redis per fix would cost more than the rest of the engine. Instead each market is
flushed every `flush_ms`, with the newest fixes of each driver only. While Redis is unavailable they
are kept: the first flush after its return stores every driver's newest position.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from mallard_engine.gateway.positions import by_time
from mallard_engine.metrics import Metrics
from mallard_engine.ports import DriverFix, StoreUnavailable
from mallard_engine.tasks import cancel

MAX_BATCH: Final = 256
# The index needs one. With several, an outlier does not hide the valid fix before it, and fixes
# that agree with each other can be accepted after a jump.
MAX_FIXES_A_DRIVER: Final = 4

Record = Callable[[str, Sequence[DriverFix]], Awaitable[Sequence[str]]]


class PositionBatcher:
    """Batches fixes.

    Args:
        record: stores at most `MAX_BATCH` fixes of a market and returns a verdict on each.
        flush_ms: returns the interval between two flushes of a market, in milliseconds.
        metrics: counts the verdicts.
    """

    def __init__(self, record: Record, flush_ms: Callable[[str], int], metrics: Metrics) -> None:
        self._record = record
        self._flush_ms = flush_ms
        self._metrics = metrics
        self._markets: dict[str, _Queue] = {}
        self._closed = False

    def __len__(self) -> int:
        """Number of drivers whose fixes are queued or being stored."""
        return sum(len(m.fixes) + len(m.sending) for m in self._markets.values())

    def add(self, market: str, driver: str, fixes: Sequence[DriverFix]) -> None:
        """Queue a driver's fixes, in any order, for the next flush."""
        waiting = self._markets.get(market)
        if waiting is None:
            waiting = self._markets[market] = _Queue()
        newest = [*waiting.fixes.get(driver, ()), *fixes]
        self._keep(waiting, driver, sorted(newest, key=by_time))
        self._start_flusher(market, waiting)

    async def flush(self, market: str, driver: str) -> None:
        """Store this driver's fixes now, and return when that is done."""
        waiting = self._markets.get(market)
        if waiting is None:
            return
        if driver in waiting.sending:
            async with waiting.lock:
                pass
        own = waiting.fixes.pop(driver, None)
        if own:
            await self._store(market, waiting, own)

    async def close(self) -> None:
        """Store the queued fixes, and stop."""
        self._closed = True
        await cancel(*(market.flusher for market in self._markets.values()))
        for market, waiting in self._markets.items():
            await self._store_all(market, waiting)
            self._metrics.fixes("unstored", sum(map(len, waiting.fixes.values())))
            waiting.fixes.clear()

    def _start_flusher(self, market: str, waiting: _Queue) -> None:
        if waiting.flusher is None and not self._closed:
            waiting.flusher = asyncio.create_task(
                self._flush(market, waiting), name=f"flush {market}"
            )

    async def _flush(self, market: str, waiting: _Queue) -> None:
        # One task per market keeps a driver's fixes in order, and a slow Redis gets larger batches
        # instead of more batches.
        try:
            while waiting.fixes:
                await asyncio.sleep(self._flush_ms(market) / 1000)
                await self._store_all(market, waiting)
        finally:
            waiting.flusher = None

    async def _store_all(self, market: str, waiting: _Queue) -> None:
        is_stored = True
        while waiting.fixes and is_stored:
            batch = waiting.take_batch()
            try:
                async with waiting.lock:
                    is_stored = await self._store(market, waiting, batch)
            finally:
                waiting.sending = frozenset()

    async def _store(self, market: str, waiting: _Queue, fixes: Sequence[DriverFix]) -> bool:
        """Store fixes; if Redis is unavailable, queue them before newer ones, return False."""
        try:
            verdicts = await self._record(market, fixes)
        except StoreUnavailable:
            earlier: dict[str, list[DriverFix]] = {}
            for fix in fixes:
                earlier.setdefault(fix.driver, []).append(fix)
            for driver, own in earlier.items():
                self._keep(
                    waiting,
                    driver,
                    sorted([*own, *waiting.fixes.get(driver, ())], key=by_time),
                )
            self._start_flusher(market, waiting)
            return False
        for verdict, count in Counter(verdicts).items():
            self._metrics.fixes(verdict, count)
        return True

    def _keep(self, waiting: _Queue, driver: str, fixes: list[DriverFix]) -> None:
        excess = len(fixes) - MAX_FIXES_A_DRIVER
        if excess > 0:
            del fixes[:excess]
            self._metrics.fixes("superseded", excess)
        waiting.fixes[driver] = fixes


class _Queue:
    """The queued fixes of one market, by driver."""

    def __init__(self) -> None:
        self.fixes: dict[str, list[DriverFix]] = {}
        self.sending: frozenset[str] = frozenset()
        self.lock = asyncio.Lock()
        self.flusher: asyncio.Task[None] | None = None

    def take_batch(self) -> list[DriverFix]:
        """Remove and return the fixes of as many drivers as fit one call, oldest queued first."""
        batch: list[DriverFix] = []
        drivers = []
        for driver, fixes in self.fixes.items():
            if len(batch) + len(fixes) > MAX_BATCH:
                break
            batch += fixes
            drivers.append(driver)
        for driver in drivers:
            del self.fixes[driver]
        self.sending = frozenset(drivers)
        return batch
