"""Remembers what a node confirmed in the last minute, to repeat what a failover has lost.

An order that is gone becomes an alert, as its service must submit it again. A driver's step, its
problem or a cancellation is repeated, as a client would that got no answer. The app got an answer,
so it does not repeat the call itself. Steps and cancellations are idempotent and fenced. A problem
is repeated only if its event is gone.
"""

import asyncio
import json
import math
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import structlog

from mallard_engine.core.model import Job
from mallard_engine.ports import (
    ConfirmedOrder,
    EventLog,
    Jobs,
    NoSuchJob,
    Refused,
    WrongState,
)
from mallard_protocol.lifecycle import JobState

_log = structlog.get_logger(__name__)

# A write this long ago is on every replica that may take over.
_KEPT_S: Final = 60.0
# The most orders, and the most steps, that are remembered in each market.
_MOST: Final = 10_000
# When an order was confirmed, and the size of its record, which follows.
_HEAD: Final = struct.Struct("<dI")
_ORDERS_AT_ONCE: Final = 256
_JOBS_AT_ONCE: Final = 64
# The states of a job whose driver has its parcels, or had them.
_TAKEN: Final = frozenset(
    {JobState.PICKED_UP, JobState.RETURNING, JobState.DELIVERED, JobState.RETURNED}
)


_T = TypeVar("_T")
# What is remembered, by market: (time in seconds, item).
_Kept = dict[str, deque[tuple[float, _T]]]


class ConfirmedStep(NamedTuple):
    """A confirmed call that has brought a job into ``state``. ``redo`` repeats it.

    ``driver`` made the call, under ``attempt``; if it is empty, the order service did.
    """

    job: str
    state: str
    redo: Callable[[], Awaitable[Any]]
    driver: str = ""
    attempt: int = 0


class ConfirmedProblem(NamedTuple):
    """A driver's problem that was written as ``event``. ``redo`` repeats it.

    ``job``: empty if it is not about one.
    """

    job: str
    driver: str
    event: str
    redo: Callable[[], Awaitable[Any]]


_Report = ConfirmedStep | ConfirmedProblem


class _Forgotten(NamedTuple):
    """What was confirmed to a driver of one job and is gone, in order.

    ``claim``: the last step, if the driver's accept is gone as well and it has the parcels.
    """

    driver: str
    claim: ConfirmedStep | None
    reports: Sequence[_Report]


class OrderLog:
    """Orders with the times (seconds) at which they were confirmed, the oldest first.

    An order takes about a hundred bytes of one buffer. As objects it would take four times as much,
    in pools among short-lived objects, whose memory Python could not return after a burst.

    Args:
        most: Beyond this many, the oldest are dropped.
    """

    __slots__ = ("_count", "_most", "_packed", "newest_s")

    def __init__(self, most: int) -> None:
        self.newest_s = -math.inf
        self._most = most
        self._count = 0
        self._packed = bytearray()

    def __len__(self) -> int:
        """Number of orders."""
        return self._count

    def __iter__(self) -> Iterator[tuple[float, ConfirmedOrder]]:
        """Yield each order with its time."""
        at = 0
        packed = bytes(self._packed)
        while at < len(packed):
            at_s, size = _HEAD.unpack_from(packed, at)
            at += _HEAD.size + size
            yield at_s, ConfirmedOrder(*json.loads(packed[at - size : at]))

    def add(self, at_s: float, order: ConfirmedOrder) -> None:
        """Add an order that is newer than all others."""
        record = json.dumps(order).encode()
        self._packed += _HEAD.pack(at_s, len(record)) + record
        self._count += 1
        self.newest_s = at_s
        if self._count > self._most:
            self._drop_first()

    def drop_before(self, since_s: float) -> None:
        """Drop the orders from before this time."""
        while self._packed and _HEAD.unpack_from(self._packed)[0] < since_s:
            self._drop_first()

    def remove(self, jobs: Collection[str]) -> None:
        """Drop the orders of these jobs."""
        kept = [(at_s, order) for at_s, order in self if order.job not in jobs]
        self._packed.clear()
        self._count, self.newest_s = 0, -math.inf
        for at_s, order in kept:
            self.add(at_s, order)

    def _drop_first(self) -> None:
        # A bytearray drops its beginning without moving the rest.
        _, size = _HEAD.unpack_from(self._packed)
        del self._packed[: _HEAD.size + size]
        self._count -= 1


class Confirmed:
    """The memory of one node.

    Args:
        jobs: The jobs in the storage.
        events: The events in the storage.
        clock: Seconds.
        claim: Records that a driver has a job's parcels on board: market, driver, job, attempt.
    """

    def __init__(
        self,
        jobs: Jobs,
        events: EventLog,
        clock: Callable[[], float],
        claim: Callable[[str, str, str, int], Awaitable[None]],
    ) -> None:
        self._jobs = jobs
        self._events = events
        self._clock = clock
        self._claim = claim
        # By market, with their times, newest last.
        self._orders: dict[str, OrderLog] = {}
        self._reports: _Kept[_Report] = {}
        # By market: until when all that was confirmed is known to have been written.
        self._written_s: dict[str, float] = {}

    @property
    def markets(self) -> Collection[str]:
        """The markets in which this node has confirmed something lately."""
        since_s = self._clock() - _KEPT_S
        ordered = {
            market for market, log in self._orders.items() if log and log.newest_s >= since_s
        }
        return ordered | _known_since(self._reports, since_s)

    def order(self, market: str, job: Job) -> None:
        """Remember a new order."""
        order = ConfirmedOrder(job.id, job.service, job.external_id or "", job.created_ms)
        log = self._orders.setdefault(market, OrderLog(_MOST))
        log.drop_before(self._clock() - _KEPT_S)
        log.add(self._clock(), order)

    def step(self, market: str, step: ConfirmedStep) -> None:
        """Remember a step."""
        self._remember(self._reports, market, step)

    def problem(self, market: str, problem: ConfirmedProblem) -> None:
        """Remember a problem."""
        self._remember(self._reports, market, problem)

    @property
    def now_s(self) -> float:
        """The time by which items are remembered."""
        return self._clock()

    def nothing_lost(self, market: str, at_s: float) -> None:
        """Note that until ``at_s`` the storage had lost nothing."""
        self._written_s[market] = at_s

    async def restore(self, market: str) -> None:
        """Find what the storage has lost, and repeat it.

        A failover forgets the last writes before it. The newest items are looked for first, until
        some from before it are known; those from after it say nothing about these.
        What is refused is tried again by the next call: the driver may be unknown until the node
        has taken it back.

        Raises:
            StoreUnavailable: the storage cannot be reached. The next call continues.
        """
        await self._report_lost_orders(market)
        by_driver: dict[str, list[_Forgotten]] = {}
        for each in await self._forgotten(market):
            by_driver.setdefault(each.driver, []).append(each)
        done = await asyncio.gather(
            *(self._restore_all(market, them) for them in by_driver.values()),
            return_exceptions=True,
        )
        for problem in done:
            if isinstance(problem, BaseException):
                raise problem

    async def _report_lost_orders(self, market: str) -> None:
        log = self._orders.get(market)
        if log is None:
            return
        log.drop_before(self._clock() - _KEPT_S)
        orders: dict[ConfirmedOrder, float] = {}
        for at_s, order in reversed(tuple(log)):
            orders.setdefault(order, at_s)
        for some in _batches(list(orders.items()), _ORDERS_AT_ONCE):
            lost = await self._jobs.report_lost(market, [order for order, _ in some])
            if not lost and self._is_from_before(market, some[-1][1]):
                return
            if lost:
                log.remove(lost)

    async def _forgotten(self, market: str) -> list[_Forgotten]:
        """Return what is gone, by job; those jobs first whose last report came first."""
        by_job: dict[str | _Report, tuple[float, list[_Report]]] = {}
        for at_s, report in reversed(self._recent(self._reports, market)):
            # A problem without a job stands for itself.
            by_job.setdefault(report.job or report, (at_s, []))[1].insert(0, report)
        found: list[_Forgotten] = []
        for some in _batches(list(by_job.values()), _JOBS_AT_ONCE):
            looked = await asyncio.gather(*(self._look(market, reports) for _, reports in some))
            gone = [each for each in looked if each.claim or each.reports]
            if not gone and self._is_from_before(market, some[-1][0]):
                break
            found += gone
        return found[::-1]

    async def _look(self, market: str, reports: Sequence[_Report]) -> _Forgotten:
        """Return what is gone of the reports of one job."""
        gone: list[_Report] = [
            it
            for it in reports
            if isinstance(it, ConfirmedProblem) and not await self._events.has(market, it.event)
        ]
        claim = None
        if steps := [it for it in reports if isinstance(it, ConfirmedStep)]:
            job, last = await self._job(steps[0].job), steps[-1]
            if job is None or not _has_come_further(job, last):
                gone += _after(steps, job)
                is_with_driver = job is not None and job.driver == last.driver
                if last.driver and last.state in _TAKEN and not is_with_driver:
                    claim = last
        return _Forgotten(reports[-1].driver, claim, [it for it in reports if it in gone])

    def _is_from_before(self, market: str, at_s: float) -> bool:
        """Whether an item was confirmed before the last loss of writes, for certain."""
        return at_s <= self._written_s.get(market, -math.inf)

    async def _job(self, job: str) -> Job | None:
        try:
            return await self._jobs.get(job)
        except NoSuchJob:
            return None

    async def _restore_all(self, market: str, forgotten: Sequence[_Forgotten]) -> None:
        for each in forgotten:
            await self._restore_job(market, each)

    def _remember(self, kept: _Kept[Any], market: str, what: Any) -> None:
        known = kept.setdefault(market, deque(maxlen=_MOST))
        self._drop_old(known)
        known.append((self._clock(), what))

    def _recent(self, kept: _Kept[_T], market: str) -> Sequence[tuple[float, _T]]:
        known = kept.get(market, deque())
        self._drop_old(known)
        return tuple(known)

    def _drop_old(self, known: deque[tuple[float, _T]]) -> None:
        since_s = self._clock() - _KEPT_S
        while known and known[0][0] < since_s:
            known.popleft()

    async def _restore_job(self, market: str, forgotten: _Forgotten) -> None:
        is_refused = False
        if (last := forgotten.claim) is not None:
            # If the job is unknown, this raises an alert.
            claim = partial(self._claim, market, last.driver, last.job, last.attempt)
            is_refused = not await _is_repeated(last, claim)
        for report in forgotten.reports:
            if isinstance(report, ConfirmedProblem):
                if await _is_repeated(report, report.redo):
                    self._forget(market, report)
            elif not is_refused:
                is_refused = not await _is_repeated(report, report.redo)

    def _forget(self, market: str, problem: ConfirmedProblem) -> None:
        """Forget a problem that is remembered anew: repeated again, it might be a second one."""
        kept = [each for each in self._reports[market] if each[1] is not problem]
        self._reports[market] = deque(kept, maxlen=_MOST)


async def _is_repeated(report: _Report, redo: Callable[[], Awaitable[Any]]) -> bool:
    try:
        await redo()
    except (NoSuchJob, Refused, WrongState) as error:
        _log.warning("forgotten report not repeated", job=report.job, error=str(error))
        return False
    _log.warning("forgotten report repeated", job=report.job)
    return True


def _batches(items: Sequence[_T], size: int) -> Iterable[Sequence[_T]]:
    return (items[at : at + size] for at in range(0, len(items), size))


def _known_since(kept: _Kept[Any], since_s: float) -> set[str]:
    return {market for market, known in kept.items() if known and known[-1][0] >= since_s}


def _has_come_further(job: Job, last: ConfirmedStep) -> bool:
    """Whether the storage knows of the last step, or of what others have done since."""
    if job.state == last.state:
        return True
    is_with_another = last.driver not in {"", job.driver}
    if job.state in _TAKEN:
        return job.terminal or is_with_another
    return last.state not in _TAKEN and (job.terminal or is_with_another)


def _after(steps: Sequence[ConfirmedStep], job: Job | None) -> Sequence[ConfirmedStep]:
    """Return the steps that the storage does not know. Those before it are still there."""
    if job is None:
        return ()
    known = [number for number, step in enumerate(steps) if step.state == job.state]
    return steps[known[-1] + 1 :] if known else steps
