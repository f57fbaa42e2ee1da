"""Batching of fixes for the store."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from mallard_engine.gateway.socket.position_batcher import (
    MAX_BATCH,
    MAX_FIXES_A_DRIVER,
    PositionBatcher,
)
from mallard_engine.metrics import Metrics
from mallard_engine.ports import DriverFix, StoreUnavailable
from tests.support import eventually


class Index:
    """A storage that records fixes and can be paused."""

    def __init__(self) -> None:
        self.batches: list[list[DriverFix]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.down = False
        self.metrics = Metrics()
        self.positions = PositionBatcher(self.record, lambda _: 1, self.metrics)

    async def record(self, market: str, fixes: Sequence[DriverFix]) -> Sequence[str]:
        assert market == "phoenix"
        self.batches.append(list(fixes))
        await self.open.wait()
        if self.down:
            raise StoreUnavailable("down")
        return ["ok"] * len(fixes)

    def add(self, driver: str, *at_ms: int) -> None:
        self.positions.add("phoenix", driver, [DriverFix(driver, at, 33.3, -111.9) for at in at_ms])

    def seen(self) -> list[tuple[str, int]]:
        return [(fix.driver, fix.at_ms) for batch in self.batches for fix in batch]

    def counted(self) -> dict[str, float]:
        (family,) = [f for f in self.metrics.registry.collect() if "fixes" in f.name]
        return {s.labels["result"]: s.value for s in family.samples if s.name.endswith("_total")}


async def test_fixes_of_one_moment_go_in_one_call() -> None:
    index = Index()
    for driver in ("d1", "d2", "d3"):
        index.add(driver, 1)
    index.add("d1", 2)
    await eventually(lambda: len(index.positions) == 0)
    assert index.seen() == [("d1", 1), ("d1", 2), ("d2", 1), ("d3", 1)]
    assert len(index.batches) == 1
    assert index.counted() == {"ok": 4}


async def test_only_the_newest_fixes_of_a_driver_are_stored() -> None:
    index = Index()
    index.add("d1", *range(100))
    index.add("d1", 100)
    await eventually(lambda: len(index.positions) == 0)
    assert index.seen() == [("d1", at) for at in range(101 - MAX_FIXES_A_DRIVER, 101)]
    assert index.counted()["superseded"] == 101 - MAX_FIXES_A_DRIVER


@pytest.mark.finding("C5")
async def test_fixes_are_stored_oldest_first() -> None:
    index = Index()
    index.add("d1", 9, 8, 1)
    index.add("d1", 4, 7)
    index.add("d1", 3)
    await eventually(lambda: len(index.positions) == 0)
    assert index.seen() == [("d1", at) for at in (4, 7, 8, 9)]
    assert index.counted()["superseded"] == 2


async def test_call_has_at_most_256_fixes() -> None:
    index = Index()
    for number in range(200):
        index.add(f"d{number}", 1, 2, 3)
    await eventually(lambda: len(index.positions) == 0)
    assert max(map(len, index.batches)) <= MAX_BATCH
    assert set(Counter(driver for driver, _ in index.seen()).values()) == {3}


async def test_flush_of_a_driver_does_not_wait_for_others() -> None:
    index = Index()
    index.positions = PositionBatcher(index.record, lambda _: 60_000, index.metrics)
    index.add("d1", 1)
    index.add("d2", 1)
    await index.positions.flush("phoenix", "d1")
    assert index.seen() == [("d1", 1)]
    await index.positions.flush("phoenix", "nobody")
    await index.positions.flush("nowhere", "d1")
    await index.positions.close()
    assert index.seen() == [("d1", 1), ("d2", 1)]


async def test_flush_of_a_driver_waits_for_its_running_call() -> None:
    index = Index()
    index.open.clear()
    index.add("d1", 1)
    await eventually(lambda: index.batches)
    flush = asyncio.create_task(index.positions.flush("phoenix", "d1"))
    await index.positions.flush("phoenix", "d2")
    await asyncio.sleep(0)
    assert not flush.done()
    index.open.set()
    await flush
    await index.positions.close()


async def test_slow_store_gets_larger_batches() -> None:
    index = Index()
    index.open.clear()
    index.add("d0", 1)
    await eventually(lambda: index.batches)
    for number in range(1, 50):
        index.add(f"d{number}", 1)
        await asyncio.sleep(0)
    assert len(index.batches) == 1
    index.open.set()
    await eventually(lambda: len(index.positions) == 0)
    assert [len(batch) for batch in index.batches] == [1, 49]


@pytest.mark.finding("B3")
async def test_newest_fixes_are_kept_during_an_outage() -> None:
    index = Index()
    index.down = True
    index.add("d1", 1, 2)
    await eventually(lambda: len(index.batches) > 1)
    index.add("d1", 3, 4, 5)
    index.add("d2", 1)
    await index.positions.flush("phoenix", "d2")
    index.batches.clear()
    index.down = False
    await eventually(lambda: len(index.positions) == 0)
    assert index.seen() == [("d1", 2), ("d1", 3), ("d1", 4), ("d1", 5), ("d2", 1)]
    assert index.counted() == {"superseded": 1, "ok": 5}


async def test_unstored_fixes_are_counted_at_shutdown() -> None:
    index = Index()
    index.down = True
    index.add("d1", 1, 2)
    await index.positions.close()
    assert len(index.positions) == 0
    assert index.counted() == {"unstored": 2}
