"""Straight roads for simulated drivers: positions in degrees, distances in metres."""

import math
from dataclasses import dataclass

_M_PER_DEGREE = 111_195.0

Point = tuple[float, float]
"""Latitude and longitude, in degrees."""


def distance_m(start: Point, end: Point) -> float:
    """The distance on a plane through both points: good to a metre or so across a city."""
    north_m = (end[0] - start[0]) * _M_PER_DEGREE
    east_m = (end[1] - start[1]) * _M_PER_DEGREE * math.cos(math.radians((start[0] + end[0]) / 2))
    return math.hypot(north_m, east_m)


def heading_deg(start: Point, end: Point) -> float:
    """The compass direction from one point to another, 0–360."""
    east = (end[1] - start[1]) * math.cos(math.radians(start[0]))
    return math.degrees(math.atan2(east, end[0] - start[0])) % 360


@dataclass(frozen=True, slots=True)
class Journey:
    """A drive at constant speed. `left_s` is when it began, by any clock that counts seconds."""

    start: Point
    end: Point
    left_s: float
    speed_mps: float

    @property
    def arrives_s(self) -> float:
        """When it ends, by the same clock."""
        return self.left_s + distance_m(self.start, self.end) / self.speed_mps

    def at(self, now_s: float) -> Point:
        """Where the driver is."""
        whole_s = self.arrives_s - self.left_s
        share = 1.0 if whole_s <= 0 else min(1.0, max(0.0, (now_s - self.left_s) / whole_s))
        return (
            self.start[0] + (self.end[0] - self.start[0]) * share,
            self.start[1] + (self.end[1] - self.start[1]) * share,
        )
