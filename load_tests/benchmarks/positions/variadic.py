"""The minimum work for a batch of positions: one GEOADD and one HSET."""

import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis.asyncio as redis
from numpy.typing import NDArray
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from load_tests.benchmarks.answering import Answer, settle
from load_tests.benchmarks.on_redis import answer_on_redis
from load_tests.benchmarks.redis_statistics import command_us, cpu_us, server_version

_BATCH: Final = 256
# The size of a position record of the engine.
_RECORD: Final = b"p" * 50
_STEP_DEG: Final = 0.0001


class Variadic:
    """Positions on one Redis."""

    def __init__(self, socket: Path) -> None:
        self._redis = redis.Redis(
            unix_socket_path=str(socket), single_connection_client=True, retry=Retry(NoBackoff(), 0)
        )
        self._points: NDArray[np.float64] = np.empty((0, 2))

    async def load(self, positions: str, lat: float, lon: float) -> Mapping[str, Any]:  # noqa: ARG002
        """Create drivers at the positions in the file."""
        self._points = np.load(positions)
        await self._report(self._points, 0)
        settle()
        return {
            "drivers": await self._redis.zcard("idle"),
            "versions": {
                "Valkey": server_version(await self._redis.info("server")),
                "redis-py": version("redis"),
            },
        }

    async def report(self, rounds: int, drivers: int) -> Mapping[str, Any]:
        """Report the first drivers `rounds` times; return the microseconds per fix."""
        points = self._points[:drivers]
        await self._redis.config_resetstat()
        before_us = cpu_us(await self._redis.info("cpu"))
        client_s = time.process_time()
        for number in range(1, rounds + 1):
            await self._report(points, number)
        used_us = cpu_us(await self._redis.info("cpu")) - before_us
        client_s = time.process_time() - client_s
        stats = await self._redis.info("commandstats")
        fixes = rounds * len(points)
        return {
            "fixes": fixes,
            "redis_cpu_us": used_us / fixes,
            "redis_command_us": command_us(stats, "geoadd", "hset") / fixes,
            "client_cpu_us": client_s * 1e6 / fixes,
        }

    async def _report(self, points: NDArray[np.float64], number: int) -> None:
        """Report one fix of each driver in batches, in random order."""
        moved = points + (_STEP_DEG if number % 2 else -_STEP_DEG)
        order = np.random.default_rng(number).permutation(len(moved))
        for start in range(0, len(order), _BATCH):
            index: list[float | str] = []
            records: list[str | bytes] = []
            numbers = order[start : start + _BATCH]
            for n, (lat, lon) in zip(numbers.tolist(), moved[numbers].tolist(), strict=True):
                name = f"driver-{n:07}"
                index += lon, lat, name
                records += name, _RECORD
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.geoadd("idle", index)
                pipe.hset("positions", items=records)
                await pipe.execute()

    @property
    def answers(self) -> Mapping[str, Answer]:
        """The questions that it answers."""
        return {"load": self.load, "report": self.report}

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()


def main() -> int:
    """Answer until the input ends."""
    return answer_on_redis(Variadic)


if __name__ == "__main__":
    sys.exit(main())
