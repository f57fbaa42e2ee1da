"""Gathers the fixes of a market's drivers and hands them on in batches.

A store call a fix would cost more than all the rest of the engine; a call a market every
`flush_ms` does not. Of one driver only the newest fixes are handed on. Without a store they are
kept: the first call after its return brings every driver's newest position.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from mallard_engine.gateway.positions import in_order
from mallard_engine.metrics import Metrics
from mallard_engine.ports import DriverFix, StoreUnavailable

MAX_BATCH: Final = 256
# One would do for the index. A few let one wild reading not hide the good one before it, and let
# readings that agree with one another be believed.
MAX_FIXES_A_DRIVER: Final = 4

Record = Callable[[str, Sequence[DriverFix]], Awaitable[Sequence[str]]]


class PositionBatcher:
    """`record(market, fixes)` takes at most 256 fixes and returns a verdict on each.

    `flush_ms(market)` is the time between two flushes.
    """

    def __init__(self, record: Record, flush_ms: Callable[[str], int], metrics: Metrics) -> None:
        self._record = record
        self._flush_ms = flush_ms
        self._metrics = metrics
        self._markets: dict[str, _Waiting] = {}
        self._closed = False

    def __len__(self) -> int:
        """How many drivers' fixes wait or are on their way."""
        return sum(len(m.fixes) + len(m.sending) for m in self._markets.values())

    def add(self, market: str, driver: str, fixes: Sequence[DriverFix]) -> None:
        """Take a driver's fixes, in any order, for the next flush."""
        waiting = self._markets.get(market)
        if waiting is None:
            waiting = self._markets[market] = _Waiting()
        newest = [*waiting.fixes.get(driver, ()), *fixes]
        self._keep(waiting, driver, sorted(newest, key=in_order))
        self._start_flusher(market, waiting)

    async def flush(self, market: str, driver: str) -> None:
        """Hand on this driver's fixes now, and return when the store has them."""
        waiting = self._markets.get(market)
        if waiting is None:
            return
        if driver in waiting.sending:
            async with waiting.lock:
                pass
        own = waiting.fixes.pop(driver, None)
        if own:
            await self._hand_on(market, waiting, own)

    async def close(self) -> None:
        """Hand on what waits, and stop."""
        self._closed = True
        flushers = {m.flusher for m in self._markets.values() if m.flusher is not None}
        for flusher in flushers:
            flusher.cancel()
        if flushers:
            await asyncio.wait(flushers)
        for market, waiting in self._markets.items():
            await self._hand_on_all(market, waiting)
            self._metrics.fixes("unstored", sum(map(len, waiting.fixes.values())))
            waiting.fixes.clear()

    def _start_flusher(self, market: str, waiting: _Waiting) -> None:
        if waiting.flusher is None and not self._closed:
            waiting.flusher = asyncio.create_task(
                self._flush(market, waiting), name=f"flush {market}"
            )

    async def _flush(self, market: str, waiting: _Waiting) -> None:
        # One task a market: a driver's fixes stay in order, and a slow store gets larger batches
        # instead of more of them.
        try:
            while waiting.fixes:
                await asyncio.sleep(self._flush_ms(market) / 1000)
                await self._hand_on_all(market, waiting)
        finally:
            waiting.flusher = None

    async def _hand_on_all(self, market: str, waiting: _Waiting) -> None:
        is_stored = True
        while waiting.fixes and is_stored:
            batch = waiting.take_batch()
            try:
                async with waiting.lock:
                    is_stored = await self._hand_on(market, waiting, batch)
            finally:
                waiting.sending = frozenset()

    async def _hand_on(self, market: str, waiting: _Waiting, fixes: Sequence[DriverFix]) -> bool:
        """False if there is no store: the fixes wait again, before those that came meanwhile."""
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
                    sorted([*own, *waiting.fixes.get(driver, ())], key=in_order),
                )
            self._start_flusher(market, waiting)
            return False
        for verdict, count in Counter(verdicts).items():
            self._metrics.fixes(verdict, count)
        return True

    def _keep(self, waiting: _Waiting, driver: str, fixes: list[DriverFix]) -> None:
        excess = len(fixes) - MAX_FIXES_A_DRIVER
        if excess > 0:
            del fixes[:excess]
            self._metrics.fixes("superseded", excess)
        waiting.fixes[driver] = fixes


class _Waiting:
    """The fixes of one market's drivers until they are flushed."""

    def __init__(self) -> None:
        self.fixes: dict[str, list[DriverFix]] = {}
        self.sending: frozenset[str] = frozenset()
        self.lock = asyncio.Lock()
        self.flusher: asyncio.Task[None] | None = None

    def take_batch(self) -> list[DriverFix]:
        """Take out the fixes of as many drivers, in the order of their arrival, as fit a call."""
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
