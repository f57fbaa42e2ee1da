"""Where simulated drivers live and orders go, by chance."""

import math
import random

from mallard_engine.core.places.mall import Mall, Market
from mallard_engine.workload.road import Point

_M_PER_DEGREE = 111_195.0
_HOME_WITHIN_M = 8_000.0


def point_around(centre: Point, radius_m: float, dice: random.Random) -> Point:
    """A point in a circle, every place in it equally likely."""
    # The root gini_of_work points evenly over the area, not along the radius.
    away_m = radius_m * math.sqrt(dice.random())
    angle = dice.uniform(0, 2 * math.pi)
    lat = centre[0] + away_m * math.cos(angle) / _M_PER_DEGREE
    m_per_degree_lon = _M_PER_DEGREE * math.cos(math.radians(centre[0]))
    return lat, centre[1] + away_m * math.sin(angle) / m_per_degree_lon


def home_near(mall: Mall, market: Market, dice: random.Random) -> Point:
    """Where a driver lives who works around a mall: within 8 km, in the service area."""
    while True:
        home = point_around((mall.lat, mall.lon), _HOME_WITHIN_M, dice)
        if market.holds(*home):
            return home
