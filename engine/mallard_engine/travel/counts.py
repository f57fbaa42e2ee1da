"""Metrics of a market's source of travel times."""

from mallard_engine.metrics import Metrics


class Counts:
    """The metrics of one market and source."""

    def __init__(self, metrics: Metrics, market: str, source: str) -> None:
        self._metrics, self._market, self._source = metrics, market, source

    def asked(self, result: str, seconds: float) -> None:
        """Count a request for a matrix with its result and duration."""
        self._metrics.travel_asked(self._market, self._source, result, seconds)

    def fell_back(self, pairs: int) -> None:
        """Count pairs that were answered by the default."""
        self._metrics.travel_fell_back(self._market, self._source, pairs)
