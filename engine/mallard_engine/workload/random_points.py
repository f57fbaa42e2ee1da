"""Random points: where simulated drivers live and where orders go."""

import math
import random

from mallard_engine.core.places.mall import Mall, Market
from mallard_engine.workload.road import Point, moved

_HOME_WITHIN_M = 8_000.0


def point_around(centre: Point, radius_m: float, rng: random.Random) -> Point:
    """Draw a point in a circle, uniformly over its area."""
    # Without the root, points would be uniform along the radius and crowd the centre.
    away_m = radius_m * math.sqrt(rng.random())
    angle = rng.uniform(0, 2 * math.pi)
    return moved(centre, away_m, angle)


def home_near(mall: Mall, market: Market, rng: random.Random) -> Point:
    """Draw the home of a driver: within 8 km of the mall, in the market's service area."""
    while True:
        home = point_around((mall.lat, mall.lon), _HOME_WITHIN_M, rng)
        if market.holds(*home):
            return home
