"""A source of travel times with a default for missing answers and errors."""

import math

import numpy as np
import structlog
from numpy.typing import NDArray

from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.travel.counts import Counts

_log = structlog.get_logger(__name__)


class WithFallback(TravelTime):
    """Answers from `source`; from `default`, and counted, where that gives `nan` or raises."""

    def __init__(self, source: TravelTime, default: TravelTime, counts: Counts) -> None:
        self._source, self._default, self._counts = source, default, counts

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """Return the seconds from one point to another."""
        try:
            seconds = self._source.seconds(from_lat, from_lon, to_lat, to_lon, at_ms)
        except Exception:  # noqa: BLE001  no round may fail because of it
            _log.exception("source of travel times failed")
            seconds = math.nan
        if not math.isnan(seconds):
            return seconds
        self._counts.fell_back(1)
        return self._default.seconds(from_lat, from_lon, to_lat, to_lon, at_ms)

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> NDArray[np.float64]:
        """Return the seconds from each of n points to each of m: shape (n, m)."""
        try:
            seconds = self._source.matrix(froms, tos, at_ms)
        except Exception:  # noqa: BLE001  no round may fail because of it
            _log.exception("source of travel times failed")
            seconds = np.full((len(froms.lats), len(tos.lats)), np.nan)
        return self.completed(seconds, froms, tos, at_ms)

    def completed(
        self, seconds: NDArray[np.float64], froms: Points, tos: Points, at_ms: int
    ) -> NDArray[np.float64]:
        """Return a table of the source with `nan` replaced by the default's times."""
        unknown = np.isnan(seconds)
        if unknown.any():
            self._counts.fell_back(int(unknown.sum()))
            seconds = np.where(unknown, self._default.matrix(froms, tos, at_ms), seconds)
        return seconds
