"""Remembers what a node confirmed in the last minute, to repeat what a failover has lost.

An order that is gone becomes an alert, as its service must submit it again. A driver's step or a
cancellation is repeated, as a client would that got no answer: each is idempotent and fenced. The
app got an answer, so it does not repeat the call itself.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import structlog

from mallard_engine.core.model import Job
from mallard_engine.ports import (
    ConfirmedOrder,
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


class _Forgotten(NamedTuple):
    """A job as stored (None if it is gone), and its confirmed steps."""

    job: Job | None
    steps: Sequence[ConfirmedStep]


class Confirmed:
    """The memory of one node.

    Args:
        jobs: The jobs in the storage.
        clock: Seconds.
        claim: Records that a driver has a job's parcels on board: market, driver, job, attempt.
    """

    def __init__(
        self,
        jobs: Jobs,
        clock: Callable[[], float],
        claim: Callable[[str, str, str, int], Awaitable[None]],
    ) -> None:
        self._jobs = jobs
        self._clock = clock
        self._claim = claim
        # By market, with their times, newest last.
        self._orders: _Kept[ConfirmedOrder] = {}
        self._steps: _Kept[ConfirmedStep] = {}
        # By market: until when all that was confirmed is known to have been written.
        self._written_s: dict[str, float] = {}

    @property
    def markets(self) -> Collection[str]:
        """The markets in which this node has confirmed something lately."""
        since_s = self._clock() - _KEPT_S
        return _known_since(self._orders, since_s) | _known_since(self._steps, since_s)

    def order(self, market: str, job: Job) -> None:
        """Remember a new order."""
        order = ConfirmedOrder(job.id, job.service, job.external_id or "", job.created_ms)
        self._remember(self._orders, market, order)

    def step(self, market: str, step: ConfirmedStep) -> None:
        """Remember a step."""
        self._remember(self._steps, market, step)

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
            by_driver.setdefault(each.steps[-1].driver, []).append(each)
        done = await asyncio.gather(
            *(self._restore_all(market, them) for them in by_driver.values()),
            return_exceptions=True,
        )
        for problem in done:
            if isinstance(problem, BaseException):
                raise problem

    async def _report_lost_orders(self, market: str) -> None:
        orders: dict[ConfirmedOrder, float] = {}
        for at_s, order in reversed(self._recent(self._orders, market)):
            orders.setdefault(order, at_s)
        for some in _batches(list(orders.items()), _ORDERS_AT_ONCE):
            lost = await self._jobs.report_lost(market, [order for order, _ in some])
            if not lost and self._is_from_before(market, some[-1][1]):
                return
            kept = [each for each in self._orders[market] if each[1].job not in lost]
            self._orders[market] = deque(kept, maxlen=_MOST)

    async def _forgotten(self, market: str) -> list[_Forgotten]:
        """Return the jobs whose last steps are gone, those first whose step came first."""
        by_job: dict[str, tuple[float, list[ConfirmedStep]]] = {}
        for at_s, step in reversed(self._recent(self._steps, market)):
            by_job.setdefault(step.job, (at_s, []))[1].insert(0, step)
        found: list[_Forgotten] = []
        for some in _batches(list(by_job.values()), _JOBS_AT_ONCE):
            jobs = await asyncio.gather(*(self._job(steps[0].job) for _, steps in some))
            gone = [
                _Forgotten(job, steps)
                for job, (_, steps) in zip(jobs, some, strict=True)
                if job is None or not _has_come_further(job, steps[-1])
            ]
            if not gone and self._is_from_before(market, some[-1][0]):
                break
            found += gone
        return found[::-1]

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
            await self._restore_job(market, each.job, each.steps)

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

    async def _restore_job(
        self, market: str, job: Job | None, steps: Sequence[ConfirmedStep]
    ) -> None:
        last = steps[-1]
        try:
            if last.driver and last.state in _TAKEN and (job is None or job.driver != last.driver):
                # The accept is lost as well. If the job is unknown, this raises an alert.
                await self._claim(market, last.driver, last.job, last.attempt)
            for step in _after(steps, job):
                await step.redo()
        except (NoSuchJob, Refused, WrongState) as error:
            _log.warning("forgotten step not repeated", job=last.job, error=str(error))
        else:
            _log.warning("forgotten step repeated", job=last.job, state=last.state)


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
