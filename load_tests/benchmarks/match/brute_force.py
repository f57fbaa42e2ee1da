"""A lower bound of the search: numpy scans all drivers and reserves none."""

import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import uvloop
from numpy.typing import NDArray

from load_tests.benchmarks.answering import answer_all, settle

_NEAREST: Final = 16


class BruteForce:
    """Searches one array."""

    def __init__(self) -> None:
        self._at = np.zeros(2)
        self._points: NDArray[np.float64] = np.empty((2, 0))
        self._scale = np.ones(2)

    async def load(self, positions: str, lat: float, lon: float) -> Mapping[str, Any]:
        """Load the drivers' positions and project them to a plane around the mall."""
        self._at = np.array([[lat], [lon]])
        self._scale = np.array([[1.0], [np.cos(np.radians(lat))]])
        self._points = np.ascontiguousarray(np.load(positions).T) * self._scale
        self._at *= self._scale
        settle()
        return {"drivers": self._points.shape[1], "versions": {"numpy": version("numpy")}}

    async def race(self, jobs: int, times: int) -> Mapping[str, Any]:
        """Run `times` rounds of `jobs` sequential searches."""
        return {"latencies_ms": [self._race(jobs) for _ in range(times)]}

    def _race(self, jobs: int) -> list[float]:
        started, latencies_ms = time.perf_counter(), []
        for _ in range(jobs):
            self._nearest()
            latencies_ms.append((time.perf_counter() - started) * 1000)
        return latencies_ms

    def _nearest(self) -> NDArray[np.int64]:
        """Return the nearest drivers, nearest first."""
        north, east = self._points - self._at
        away = north * north + east * east
        nearest = np.argpartition(away, _NEAREST)[:_NEAREST]
        ordered: NDArray[np.int64] = nearest[np.argsort(away[nearest])]
        return ordered


def main() -> int:
    """Answer until the input ends."""
    floor = BruteForce()
    uvloop.run(answer_all({"load": floor.load, "race": floor.race}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
