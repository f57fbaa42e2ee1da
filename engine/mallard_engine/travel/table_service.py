"""Implementations of `mallard_engine.ports.TravelMatrixSource`: in process, and over a network."""

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
"""From this many pairs on, a table is computed in a thread, as it takes milliseconds."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class TableFailed(Exception):
    """A table service did not return a table. `result`: `failed` or `nonsense`."""

    def __init__(self, result: str, message: str) -> None:
        super().__init__(message)
        self.result = result


class TableService(Protocol):
    """A remote service for tables of travel times."""

    async def table(self, request: MatrixRequest) -> NDArray[np.float64]:
        """Return the seconds on free roads, (n, m); `nan` where there is no route.

        Raises:
            TableFailed: The service did not return a table.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class InProcess:
    """A source in this process; a matrix is quicker than separate queries."""

    waits = False

    def __init__(self, source: TravelTime) -> None:
        self._source = source

    async def fetch(self, wanted: Sequence[MatrixRequest], at_ms: int) -> TravelTime:
        """See `mallard_engine.ports.TravelMatrixSource`.

        A large matrix is computed in a thread, so that the event loop stays responsive.
        """
        if sum(len(request.froms) * len(request.tos) for request in wanted) >= IN_A_THREAD_FROM:
            return await asyncio.to_thread(self._fetched, wanted, at_ms)
        return self._fetched(wanted, at_ms)

    def _fetched(self, wanted: Sequence[MatrixRequest], at_ms: int) -> TravelTime:
        tables = [self._source.matrix(*_sides(request), at_ms) for request in wanted]
        return TravelMatrix(list(zip(wanted, tables, strict=True)), self._source)

    async def close(self) -> None:
        """Do nothing: there are no connections."""


class OverNetwork:
    """A table service with a time budget and a circuit breaker.

    If it does not answer within `budget_s`, the whole round uses `default`; after several failures
    in a row it is not called for a while.
    """

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
        """See `mallard_engine.ports.TravelMatrixSource`."""
        if not wanted:
            return self._default
        if not self._breaker.allows():
            return self._without(wanted, "resting", 0.0)
        started = self._clock()
        try:
            async with asyncio.timeout(self._budget_s):
                tables = await together(self._service.table(request) for request in wanted)
        except TimeoutError:
            return self._failed(wanted, "slow", f"no answer in {self._budget_s:g} s", started)
        except TableFailed as error:
            return self._failed(wanted, error.result, str(error), started)
        except Exception as error:  # noqa: BLE001  no round may fail because of it
            return self._failed(wanted, "failed", repr(error), started)
        self._breaker.succeeded()
        self._counts.asked("ok", self._clock() - started)
        slowness = self._speed.slowness(at_ms)
        return TravelMatrix(
            [
                (request, self._completed(table * slowness, *_sides(request), at_ms))
                for request, table in zip(wanted, tables, strict=True)
            ],
            self._default,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._service.close()

    def _failed(
        self, wanted: Sequence[MatrixRequest], result: str, why: str, started: float
    ) -> TravelTime:
        _log.debug("travel times unavailable", result=result, error=why)
        if self._breaker.failed():
            _log.warning("travel source failed, using the default", result=result, error=why)
        return self._without(wanted, result, self._clock() - started)

    def _without(self, wanted: Sequence[MatrixRequest], result: str, seconds: float) -> TravelTime:
        self._counts.asked(result, seconds)
        self._counts.fell_back(sum(len(request.froms) * len(request.tos) for request in wanted))
        return self._default


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await calls concurrently and return their results; if one fails, cancel the others."""
    tasks = [asyncio.create_task(call, name="travel table") for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _sides(request: MatrixRequest) -> tuple[Points, Points]:
    return Points.of(request.froms), Points.of(request.tos)
