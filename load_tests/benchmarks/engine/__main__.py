"""`python -m load_tests.benchmarks.engine`: the engine as a contestant.

It starts its own embedded Redis, whose log is synced every second. Questions and answers are JSON
objects, one per line:

- `{"do": "where"}`: the mall's location and its market's area.
- `{"do": "load", "positions": FILE.npy}`: create free drivers at these positions.
- `{"do": "race", "jobs": N, "times": K}`: K matches of N concurrent jobs.
- `{"do": "report", "rounds": K, "drivers": N}`: the positions of N drivers, K times.
- `{"do": "call", "at_once": N, "calls": K}`: the client CPU time of a call.
- `{"do": "match_cost", "times": K}`: the calls and the Redis time of a match.
- `{"do": "report_calls"}`: the number of calls for the drivers' positions.
- `{"do": "idle_wakes"}`: the timers of 500 idle sockets in a ping interval.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import structlog
import uvloop
from numpy.typing import NDArray

from load_tests.benchmarks.engine.answering import answer_all
from load_tests.benchmarks.engine.calls import call_us, hot_call
from load_tests.benchmarks.engine.costs import match_cost, report_calls
from load_tests.benchmarks.engine.idle_wakes import idle_wakes
from load_tests.benchmarks.engine.latencies import version
from load_tests.benchmarks.engine.races import race
from load_tests.benchmarks.engine.reports import report
from load_tests.benchmarks.engine.world import MARKET, World
from mallard_engine.storage.embedded.server import EmbeddedServer


class Contestant:
    """Answers questions about one market."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._world = World(url)
        self._positions: NDArray[np.float64] = np.empty((0, 2))
        self._answers: Mapping[str, Callable[..., Awaitable[Mapping[str, Any]]]] = {
            "where": self._where,
            "load": self._load,
            "race": self._race,
            "report": self._report,
            "call": self._call,
            "match_cost": self._match_cost,
            "report_calls": self._report_calls,
            "idle_wakes": self._idle_wakes,
        }

    async def run(self) -> None:
        """Answer until the input ends."""
        # Standard output contains only answers, so logs go to standard error.
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
        await self._world.connect()
        try:
            await answer_all(self._answer)
        finally:
            await self._world.close()

    async def _answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        arguments = {name: value for name, value in question.items() if name != "do"}
        return await self._answers[question["do"]](**arguments)

    async def _where(self) -> Mapping[str, Any]:
        area = self._world.places.markets[MARKET].area
        mall = self._world.mall
        return {"lat": mall.lat, "lon": mall.lon, "area": list(area.exterior.coords)}

    async def _load(self, positions: str) -> Mapping[str, Any]:
        self._positions = np.load(positions)
        await self._world.load(self._positions)
        return {
            "drivers": await self._world.free_drivers(),
            "versions": {"Valkey": await version(self._world.link)},
        }

    async def _race(self, jobs: int, times: int) -> Mapping[str, Any]:
        free = await self._world.free_drivers()
        latencies_ms = [await race(self._world, jobs) for _ in range(times)]
        if await self._world.free_drivers() != free:
            raise RuntimeError("not every driver is free again")
        return {"latencies_ms": latencies_ms}

    async def _report(self, rounds: int, drivers: int) -> Mapping[str, Any]:
        return await report(self._world, self._positions[:drivers], rounds)

    async def _call(self, at_once: int, calls: int) -> Mapping[str, Any]:
        command = await hot_call(self._world.link)
        return {"us": await call_us(self._world.link, command, calls, at_once)}

    async def _match_cost(self, times: int) -> Mapping[str, Any]:
        return await match_cost(self._url, times)

    async def _report_calls(self) -> Mapping[str, Any]:
        return await report_calls(self._url, self._positions)

    async def _idle_wakes(self) -> Mapping[str, Any]:
        return {"wakes": await idle_wakes()}


def main() -> int:
    """Answer until the input ends; return the exit status."""
    with EmbeddedServer() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(server.url))
    return 0


async def _run(url: str) -> None:
    await Contestant(url).run()


if __name__ == "__main__":
    sys.exit(main())
