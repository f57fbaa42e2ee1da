"""Straight roads for simulated drivers: positions in degrees, distances in metres."""

import math
from dataclasses import dataclass
from typing import Self

_M_PER_DEGREE = 111_195.0

Point = tuple[float, float]
"""Latitude and longitude, in degrees."""


def distance_m(start: Point, end: Point) -> float:
    """Return the distance on a local plane, accurate to about a metre across a city."""
    north_m = (end[0] - start[0]) * _M_PER_DEGREE
    east_m = (end[1] - start[1]) * _M_PER_DEGREE * math.cos(math.radians((start[0] + end[0]) / 2))
    return math.hypot(north_m, east_m)


def heading_deg(start: Point, end: Point) -> float:
    """Return the compass direction from one point to another, 0 to 360."""
    east = (end[1] - start[1]) * math.cos(math.radians(start[0]))
    return math.degrees(math.atan2(east, end[0] - start[0])) % 360


def moved(point: Point, metres: float, heading: float) -> Point:
    """Return the point so far away in a direction (radians, clockwise from north)."""
    lat = point[0] + metres * math.cos(heading) / _M_PER_DEGREE
    m_per_degree_lon = _M_PER_DEGREE * math.cos(math.radians(point[0]))
    return lat, point[1] + metres * math.sin(heading) / m_per_degree_lon


@dataclass(frozen=True, slots=True)
class Journey:
    """A straight drive at constant speed; `left` and `arrives` are times of any one clock."""

    start: Point
    end: Point
    left: float
    arrives: float

    @classmethod
    def at_speed(cls, start: Point, end: Point, left_s: float, speed_mps: float) -> Self:
        """Return the journey that leaves at `left_s` and takes as long as the speed says."""
        return cls(start, end, left_s, left_s + distance_m(start, end) / speed_mps)

    def at(self, now: float) -> Point:
        """Return the driver's position."""
        if now >= self.arrives:
            return self.end
        share = max(0.0, (now - self.left) / (self.arrives - self.left))
        return (
            self.start[0] + share * (self.end[0] - self.start[0]),
            self.start[1] + share * (self.end[1] - self.start[1]),
        )
