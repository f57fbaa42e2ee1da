"""The mean speed on a market's roads, by the hour of its day."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import inf
from zoneinfo import ZoneInfo

HOURS_A_DAY = 24
# UTC offsets are multiples of 15 minutes and change on one: the local hour is constant within it.
_QUARTER_MS = 900_000


@dataclass(frozen=True, slots=True)
class SpeedByHour:
    """The mean speed in m/s: `table`'s entry for the local hour in `time_zone`, else `usual_mps`.

    `table` is empty or has 24 entries, one for each hour of the day.

    Raises:
        ValueError: A speed is not above 0, or the table has another length.
    """

    usual_mps: float
    table: tuple[float, ...] = ()
    time_zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.table and len(self.table) != HOURS_A_DAY:
            raise ValueError(f"speed_by_hour has {len(self.table)} entries, not 24")
        if not all(0 < speed < inf for speed in (self.usual_mps, *self.table)):
            raise ValueError("a speed must be above 0 m/s")

    def mps(self, at_ms: int) -> float:
        """Return the speed at `at_ms` (epoch milliseconds)."""
        if not self.table:
            return self.usual_mps
        return self.table[_local_hour(at_ms // _QUARTER_MS, self.time_zone)]

    def slowness(self, at_ms: int) -> float:
        """Return the factor by which a trip at `at_ms` takes longer than at `usual_mps`."""
        return self.usual_mps / self.mps(at_ms)


@lru_cache(maxsize=256)
def _local_hour(quarter: int, time_zone: str) -> int:
    return datetime.fromtimestamp(quarter * _QUARTER_MS / 1000, ZoneInfo(time_zone)).hour
