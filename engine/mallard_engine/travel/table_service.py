"""Sources of travel times that are asked ahead of a ranking
(:class:`mallard_engine.ports.TravelMatrixSource`)."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.matching.travel_matrix import MatrixRequest, TravelMatrix
from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.travel.breaker import Breaker
from mallard_engine.travel.counts import Counts
from mallard_engine.travel.fallback import WithFallback

IN_A_THREAD_FROM = 4_000
"""So many ways are told in a thread: they take more than a millisecond or two."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class TableFailed(Exception):
    """A table service did not give a table. ``result``: `failed` or `nonsense`."""

    def __init__(self, result: str, message: str) -> None:
        super().__init__(message)
        self.result = result


class TableService(Protocol):
    """Gives tables of travel times over a network."""

    async def table(self, ways: MatrixRequest) -> NDArray[np.float64]:
        """Seconds on free roads, (n, m); `nan` where there is no way. :raises TableFailed:"""
        ...

    async def close(self) -> None:
        """Let go of its connections."""
        ...


class InProcess:
    """A source in this process: it is asked ahead as it is quicker for all ways at once."""

    waits = False

    def __init__(self, source: TravelTime) -> None:
        self._source = source

    async def fetch(self, wanted: Sequence[MatrixRequest], at_ms: int) -> TravelTime:
        """See `mallard_engine.ports.TravelMatrixSource`. A large batch is computed in a thread, so
        that the event loop stays responsive."""
        if sum(len(ways.froms) * len(ways.tos) for ways in wanted) >= IN_A_THREAD_FROM:
            return await asyncio.to_thread(self._told, wanted, at_ms)
        return self._told(wanted, at_ms)

    def _told(self, wanted: Sequence[MatrixRequest], at_ms: int) -> TravelTime:
        tables = [self._source.matrix(*_sides(ways), at_ms) for ways in wanted]
        return TravelMatrix(list(zip(wanted, tables, strict=True)), self._source)

    async def close(self) -> None:
        """Nothing to let go of."""


class OverNetwork:
    """A table service that gets ``budget_s`` to answer. Where it does not, all of the round is the
    ``default``'s to say; after several such failures it is left alone for a while."""

    waits = True

    def __init__(
        self,
        service: TableService,
        default: TravelTime,
        breaker: Breaker,
        counts: Counts,
        *,
        budget_s: float,
        speed: SpeedByHour,
        clock: Callable[[], float],
    ) -> None:
        self._service, self._default = service, default
        self._breaker, self._counts = breaker, counts
        self._budget_s, self._speed, self._clock = budget_s, speed, clock
        self._completed = WithFallback(default, default, counts).completed

    async def fetch(self, wanted: Sequence[MatrixRequest], at_ms: int) -> TravelTime:
        """See :class:`mallard_engine.ports.TravelMatrixSource`."""
        if not wanted:
            return self._default
        if not self._breaker.allows():
            return self._without(wanted, "resting", 0.0)
        started = self._clock()
        try:
            async with asyncio.timeout(self._budget_s):
                tables = await together(self._service.table(ways) for ways in wanted)
        except TimeoutError:
            return self._failed(wanted, "slow", f"no answer in {self._budget_s:g} s", started)
        except TableFailed as error:
            return self._failed(wanted, error.result, str(error), started)
        except Exception as error:  # noqa: BLE001  no round may break by it
            return self._failed(wanted, "failed", repr(error), started)
        self._breaker.succeeded()
        self._counts.asked("ok", self._clock() - started)
        slowness = self._speed.slowness(at_ms)
        return TravelMatrix(
            [
                (ways, self._completed(table * slowness, *_sides(ways), at_ms))
                for ways, table in zip(wanted, tables, strict=True)
            ],
            self._default,
        )

    async def close(self) -> None:
        """Let go of its connections."""
        await self._service.close()

    def _failed(
        self, wanted: Sequence[MatrixRequest], result: str, why: str, started: float
    ) -> TravelTime:
        _log.debug("travel times not told", result=result, error=why)
        if self._breaker.failed():
            _log.warning("travel times: the default's for a while", result=result, error=why)
        return self._without(wanted, result, self._clock() - started)

    def _without(self, wanted: Sequence[MatrixRequest], result: str, seconds: float) -> TravelTime:
        self._counts.asked(result, seconds)
        self._counts.fell_back(sum(len(ways.froms) * len(ways.tos) for ways in wanted))
        return self._default


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The answers to calls that are made at once; where one fails, the others are given up."""
    tasks = [asyncio.create_task(call, name="travel table") for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _sides(ways: MatrixRequest) -> tuple[Points, Points]:
    return Points.of(ways.froms), Points.of(ways.tos)
