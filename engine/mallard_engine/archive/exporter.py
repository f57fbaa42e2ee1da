"""Moves ended jobs from Redis to the targets, at least once, and acknowledges what they have.

Two sources say that a job has ended: its events, and `unarchived`, which also has the jobs whose
events were trimmed. The events of open jobs stay pending in the consumer group, so that nothing is
lost with this process. A job is written some time after its last change: its last events are often
written within a second. One process archives a market; another one waits until its lease ends.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from mallard_engine.archive.document import ArchivedJob, document_of
from mallard_engine.archive.targets import Target, TargetUnavailable
from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import NoSuchJob, StoreUnavailable
from mallard_engine.storage.archive_queue import ArchiveQueue, EndedJob
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.lifecycle import TERMINAL

_log = structlog.get_logger(__name__)
_often = RateLimitedLog(_log, interval_s=10.0)

SETTLE_MS: Final = 2_000
_POLL_S: Final = 0.2
_BATCH: Final = 100
_RETRY_S: Final = 1.0
# In units of `_RETRY_S`.
_LONGEST_RETRY: Final = 15
_ROLE: Final = "archive"
LEASE_MS: Final = 15_000
# A lease that has ended is noticed within this time, even on a busy machine.
_MARGIN_S: Final = 1.0
# Events of a job beyond this number are not kept.
_MOST_EVENTS: Final = 2_000


class ArchiveInUse(Exception):
    """Another process archives the market: two would share the events of a job between them."""

    def __init__(self, market: str) -> None:
        super().__init__(f"another process archives {market}")


@dataclass(slots=True)
class _Market:
    """What was read of a market and is not archived.

    Attributes:
        events: The events by job.
        ended_ms: When jobs have ended.
        read_to_ms: Up to when events were read; None: all of them.
    """

    events: dict[str, list[MarketEvent]] = field(default_factory=dict)
    ended_ms: dict[str, int] = field(default_factory=dict)
    read_to_ms: int | None = None


class Exporter:
    """The archive of some markets.

    Args:
        store: The storage, from which jobs are read.
        queue: What is to be archived.
        targets: Each document is written to all of them.
        markets: The markets.
        hold_ms: How long Redis holds jobs for this archive beyond their usual time.
        settle_ms: How long after its last change a job is written.
        retry_s: How long it waits before the next attempt after a failure, at first.
        lease_ms: After a kill the next archive begins this late.
    """

    def __init__(
        self,
        store: RedisStorage,
        queue: ArchiveQueue,
        targets: Sequence[Target],
        markets: Sequence[str],
        *,
        hold_ms: int,
        settle_ms: int = SETTLE_MS,
        retry_s: float = _RETRY_S,
        lease_ms: int = LEASE_MS,
    ) -> None:
        self.written = 0
        self.is_alone = False
        self._store = store
        self._queue = queue
        self._targets = targets
        self._markets = {market: _Market() for market in markets}
        self._hold_ms = hold_ms
        self._settle_ms = settle_ms
        self._retry_s = retry_s
        self._unreadable: set[str] = set()
        self._lease_ms = lease_ms
        self._name = secrets.token_hex(8)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End after the current batch."""
        self._stopping.set()

    async def run(self) -> None:
        """Archive until `stop` is called, through outages of Redis and of the targets."""
        while not self._stopping.is_set():
            try:
                async with self._alone():
                    await self.begin()
                    while self.is_alone and not self._stopping.is_set():
                        if not await self.step():
                            await self._pause(_POLL_S)
            except ArchiveInUse as problem:
                _often.warning("the archive waits for another", reason=str(problem))
                await self._pause(self._retry_s)
            except StoreUnavailable as problem:
                _often.warning("the archive waits for Redis", reason=str(problem))
                await self._pause(self._retry_s)

    async def run_once(self) -> None:
        """Archive what has ended so far.

        It waits for as long as an archive that was killed may still hold its lease.

        Raises:
            ArchiveInUse: another process archives one of the markets.
            StoreUnavailable: Redis could not be read or written.
            TargetUnavailable: a target could not be written.
        """
        self._settle_ms = 0
        ends_s = time.monotonic() + self._lease_ms / 1000 + _MARGIN_S
        while not self._stopping.is_set():
            try:
                async with self._alone():
                    await self._archive_all()
                return
            except ArchiveInUse as problem:
                if time.monotonic() >= ends_s:
                    raise
                _often.warning("the archive waits for another", reason=str(problem))
                await self._pause(self._retry_s)

    async def _archive_all(self) -> None:
        await self.begin()
        while not self._stopping.is_set() and await self.step(patient=False):
            if not self.is_alone:
                raise ArchiveInUse(next(iter(self._markets)))

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the only process that archives these markets, within the context."""
        renewing: asyncio.Task[None] | None = None
        try:
            await self._hold()
            self.is_alone = True
            renewing = asyncio.create_task(self._renew(), name="archive lease")
            yield
        finally:
            self.is_alone = False
            if renewing is not None:
                renewing.cancel()
            with contextlib.suppress(StoreUnavailable):
                for market in self._markets:
                    await self._store.leases.hold_role(market, _ROLE, self._name, 0)

    async def _hold(self) -> None:
        for market in self._markets:
            if not await self._store.leases.hold_role(market, _ROLE, self._name, self._lease_ms):
                raise ArchiveInUse(market)

    async def _renew(self) -> None:
        """Keep the leases, also while a target is away, until another process has one."""
        while self.is_alone:
            await asyncio.sleep(self._lease_ms / 3000)
            try:
                await self._hold()
            except (StoreUnavailable, LinkReplyError) as problem:
                _often.warning("the archive waits for Redis", reason=str(problem))
            except ArchiveInUse:
                self.is_alone = False

    async def begin(self) -> None:
        """Register, and read what an earlier run has not finished.

        Raises:
            StoreUnavailable: Redis could not be read or written.
        """
        for market in self._markets:
            self._markets[market] = _Market()
            await self._queue.register(market, self._hold_ms)
            async for page in self._queue.pending(market):
                await self._note(market, page)

    async def step(self, *, patient: bool = True) -> bool:
        """Read new events, and write what is due; return whether there was anything.

        Raises:
            StoreUnavailable: Redis could not be read or written.
            TargetUnavailable: a target could not be written, and the caller is not ``patient``.
        """
        did_any = False
        for market in self._markets:
            events, has_more = await self._queue.read(market)
            self._markets[market].read_to_ms = events[-1].at_ms if events and has_more else None
            await self._note(market, events)
            wrote = await self._archive(market, patient=patient)
            did_any = did_any or wrote or bool(events)
        return did_any

    async def _note(self, market: str, events: Sequence[MarketEvent]) -> None:
        """Keep the events of jobs, and acknowledge the others."""
        known = self._markets[market]
        others: list[Place] = []
        for event in events:
            own = known.events.setdefault(event.job, []) if event.job else []
            if not event.job or not event.type or len(own) >= _MOST_EVENTS:
                others.append(event.place)
            else:
                own.append(event)
            if event.job and event.state in TERMINAL:
                known.ended_ms[event.job] = event.at_ms
        if others:
            await self._queue.done(market, others, ())

    async def _archive(self, market: str, *, patient: bool) -> bool:
        """Write one batch of jobs; return whether there was one."""
        known = self._markets[market]
        due = await self._due(market)
        if not due:
            return False
        changed = await self._queue.changed_at(market, due)
        documents: list[ArchivedJob] = []
        ended: list[EndedJob] = []
        reopened: list[EndedJob] = []
        for name in due:
            try:
                job = await self._store.jobs.get(name)
                if not job.terminal:  # the writes that ended the job were lost
                    reopened.append(EndedJob(name, job.service, changed.get(name)))
                    continue
                record = await self._store.offers.last_round(name)
                events, now_ms = known.events.get(name, ()), self._store.now_ms()
                documents.append(document_of(job, record, events, now_ms))
                ended.append(EndedJob(name, job.service, changed.get(name)))
            except NoSuchJob:
                _log.error("a job left Redis before it was archived", job=name)
                ended.append(EndedJob(name, "", changed.get(name)))
            except (KeyError, ValueError, TypeError) as error:  # msgspec's are ValueErrors
                _log.error("a job cannot be read for the archive", job=name, error=repr(error))
                self._unreadable.add(name)
        await self._write(documents, patient=patient)
        places = [event.place for it in ended for event in known.events.get(it.job, ())]
        await self._queue.done(market, places, [*ended, *reopened])
        for it in ended:
            known.events.pop(it.job, None)
        for it in (*ended, *reopened):
            known.ended_ms.pop(it.job, None)
        self.written += len(documents)
        return bool(ended or reopened)

    async def _due(self, market: str) -> list[str]:
        """Return the jobs of the next batch: none whose last events are still to be read."""
        known, now_ms = self._markets[market], self._store.now_ms()
        read_to_ms = now_ms if known.read_to_ms is None else known.read_to_ms - 1
        until_ms = min(now_ms, read_to_ms) - self._settle_ms
        ended = [job for job, at_ms in known.ended_ms.items() if at_ms <= until_ms][:_BATCH]
        waiting = await self._queue.waiting(market, _BATCH + len(self._unreadable))
        lacking = [job for job, at_ms in waiting if at_ms <= until_ms]
        jobs = dict.fromkeys([*ended, *lacking])
        return [job for job in jobs if job not in self._unreadable][:_BATCH]

    async def _write(self, documents: Sequence[ArchivedJob], *, patient: bool) -> None:
        """Write to every target; if ``patient``, until it has succeeded."""
        wait_s = self._retry_s
        for target in self._targets:
            while True:
                try:
                    await target.write(documents)
                    break
                except TargetUnavailable as problem:
                    if not patient or self._stopping.is_set():
                        raise
                    _often.error("the archive cannot be written", reason=str(problem))
                await self._pause(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_RETRY * self._retry_s)

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until `stop` is called."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)
