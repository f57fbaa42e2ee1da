"""What is counted of a market's source of travel times."""

from mallard_engine.metrics import Metrics


class Counts:
    """The figures of one market and source on a node's metrics."""

    def __init__(self, metrics: Metrics, market: str, source: str) -> None:
        self._metrics, self._market, self._source = metrics, market, source

    def asked(self, result: str, seconds: float) -> None:
        """It was asked ahead of a ranking, with that result, and took so long."""
        self._metrics.travel_asked(self._market, self._source, result, seconds)

    def fell_back(self, ways: int) -> None:
        """So many ways were the default's to say."""
        self._metrics.travel_fell_back(self._market, self._source, ways)
