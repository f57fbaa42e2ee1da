"""A phone's fixes along a known way, as a city makes them: seeded, so the same every time.

The error of a fix is a Gauss-Markov process: errors some seconds apart are nearly the same. Over it
lie multipath episodes, in which a reflection moves the position by tens of metres for some seconds,
and gaps, in which there are no fixes at all. The phone's accuracy knows of a part of it only. Its
speed comes from the Doppler shift and is hardly disturbed outdoors. The figures are assumptions of
ours for a city between high walls, not measurements.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Point(NamedTuple):
    """Where the driver truly is: seconds, metres east and north, indoors or not, in a tunnel or
    garage where no satellite is seen."""

    at_s: float
    east_m: float
    north_m: float
    speed_mps: float
    indoors: bool = False
    hidden: bool = False


class NoisyFix(NamedTuple):
    """What the phone tells."""

    at_s: float
    east_m: float
    north_m: float
    acc_m: float
    speed_mps: float | None


@dataclass(frozen=True, slots=True)
class GpsNoise:
    """How bad the sky is. Metres and seconds; ``reflections_s``: the mean time between them."""

    outdoors_m: float = 6.0
    indoors_m: float = 18.0
    memory_s: float = 25.0
    reflections_s: float = 150.0
    reflection_lasts_s: float = 9.0
    reflection_m: float = 45.0
    lost_fixes: float = 0.05
    tells_speed: bool = True

    def fixes(self, way: Sequence[Point], rng: random.Random) -> Iterator[NoisyFix]:
        """The fixes along a way, one for each point but those that are lost."""
        east = rng.gauss(0, self.outdoors_m)
        north = rng.gauss(0, self.outdoors_m)
        reflected_until = -math.inf
        shift = (0.0, 0.0)
        before = way[0].at_s if way else 0.0
        for point in way:
            passed, before = point.at_s - before, point.at_s
            sigma = self.indoors_m if point.indoors else self.outdoors_m
            keep = math.exp(-passed / self.memory_s)
            fresh = sigma * math.sqrt(1 - keep * keep)
            east = east * keep + rng.gauss(0, 1) * fresh
            north = north * keep + rng.gauss(0, 1) * fresh
            rate = passed / self.reflections_s * (3 if point.indoors else 1)
            if point.at_s > reflected_until and rng.random() < rate:
                reflected_until = point.at_s + rng.expovariate(1 / self.reflection_lasts_s)
                size = self.reflection_m * rng.lognormvariate(-0.2, 0.65)
                angle = rng.uniform(0, 2 * math.pi)
                shift = (size * math.cos(angle), size * math.sin(angle))
            reflected = point.at_s <= reflected_until
            if point.hidden or rng.random() < self.lost_fixes:
                continue
            off = shift if reflected else (0.0, 0.0)
            # Half of a reflection, on average, is in what the phone believes of itself.
            acc_m = sigma + (rng.uniform(0.0, 1.0) * math.hypot(*off) if reflected else 0.0)
            speed = max(0.0, point.speed_mps + rng.gauss(0, 1.5 if reflected else 0.4))
            yield NoisyFix(
                point.at_s,
                point.east_m + east + off[0],
                point.north_m + north + off[1],
                acc_m,
                speed if self.tells_speed else None,
            )
