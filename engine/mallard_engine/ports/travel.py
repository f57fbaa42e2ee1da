"""The port of travel times that are asked for before a ranking."""

from collections.abc import Sequence
from typing import Protocol

from mallard_engine.core.matching.travel_matrix import MatrixRequest
from mallard_engine.core.matching.travel_time import TravelTime


class TravelMatrixSource(Protocol):
    """A source of travel times that is asked for a matrix before a ranking."""

    @property
    def waits(self) -> bool:
        """Whether it answers over a network. If not, its answer costs no wait."""
        ...

    async def fetch(self, wanted: Sequence[MatrixRequest], at_ms: int) -> TravelTime:
        """Return the travel times of a ranking at a moment (epoch ms).

        Keeps the market's time budget and never raises: for what the source does not answer, the
        default is used and counted.
        """
        ...
