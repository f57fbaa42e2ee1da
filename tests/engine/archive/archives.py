"""Drives an archive of a world's market."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from mallard_engine.archive.exporter import LEASE_MS, Exporter
from mallard_engine.archive.files import FileArchive
from mallard_engine.archive.segments import segments_of
from mallard_engine.archive.targets import Target
from mallard_engine.gateway.orders.complete_order import CompleteOrder
from mallard_engine.storage.archive_queue import ArchiveQueue
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.lifecycle import Step
from mallard_protocol.resources import JobRequest
from tests.engine.storage.worlds import LAT, LON, MALL, MARKET, START_MS, World

DAY_MS = 86_400_000
HOLD_MS = 7 * DAY_MS
_SEGMENT_BYTES = 1_000_000
PIN, PICKUP_CODE = "493817", "SHELF-77"

_REQUEST = {
    "pickup": {
        "mall": MALL,
        "stores": [{"store": "lego", "parcels": 2, "pickup_code": PICKUP_CODE}],
    },
    "dropoff": {"lat": LAT, "lon": LON, "address": "1 Example Way", "pin": PIN},
}
BODY = CompleteOrder.from_request(
    msgspec.convert(_REQUEST, JobRequest), ServiceLevel.POOLED, START_MS
).body


class Archive:
    """One archive; each call of `exporter` is another process of it."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.queue = ArchiveQueue(world.store.runner)

    def files(self, segment_bytes: int = _SEGMENT_BYTES) -> FileArchive:
        return FileArchive(self.folder, segment_bytes)

    def exporter(self, *targets: Target, lease_ms: int = LEASE_MS) -> Exporter:
        return Exporter(
            self.world.store,
            self.queue,
            targets,
            [MARKET],
            hold_ms=HOLD_MS,
            settle_ms=0,
            retry_s=0.01,
            lease_ms=lease_ms,
        )

    async def register(self) -> None:
        await self.queue.register(MARKET, HOLD_MS)

    async def once(self, *, segment_bytes: int = _SEGMENT_BYTES) -> int:
        """Archive what has ended; return how many jobs were written."""
        files = self.files(segment_bytes)
        await files.open()
        try:
            exporter = self.exporter(files)
            await exporter.run_once()
            return exporter.written
        finally:
            await files.close()

    def lines(self) -> list[dict[str, Any]]:
        """Every line of the files, oldest first."""
        return [
            json.loads(line)
            for path in segments_of(self.folder)
            for line in path.read_bytes().splitlines()
        ]

    def ids(self) -> list[str]:
        return [line["id"] for line in self.lines()]

    async def waiting(self) -> list[str]:
        return [job for job, _ in await self.queue.waiting(MARKET, 1_000)]

    async def pending(self) -> list[str]:
        """The jobs of events that the archive has read and not acknowledged."""
        return [it.job async for page in self.queue.pending(MARKET) for it in page]

    async def delivered(self, driver: str = "ann") -> str:
        """Deliver a job; return its id."""
        ref, attempt = await self.world.picked_up(driver, body=BODY)
        await self.world.step(ref, Step.DELIVERED, attempt, driver)
        return ref.job

    async def cancelled(self, count: int = 1) -> Sequence[str]:
        """Submit and cancel jobs; return their ids."""
        refs = [await self.world.submit(body=BODY) for _ in range(count)]
        for ref in refs:
            await self.world.store.jobs.cancel(ref, "toys", "")
        return [ref.job for ref in refs]
