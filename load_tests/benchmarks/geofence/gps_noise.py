"""Simulated GPS fixes along a known trace in a city; reproducible by seed.

The error of a fix is a Gauss-Markov process: errors a few seconds apart are similar. Multipath
episodes add a shift of tens of metres for some seconds, and gaps have no fixes at all. The reported
accuracy covers only a part of the error. The speed comes from the Doppler shift and is hardly
disturbed outdoors. The parameters are assumptions for a dense city, not measurements.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Point(NamedTuple):
    """A true position: seconds, metres east and north. ``hidden``: without satellites, as in a
    garage."""

    at_s: float
    east_m: float
    north_m: float
    speed_mps: float
    indoors: bool = False
    hidden: bool = False


class NoisyFix(NamedTuple):
    """A fix as reported by the device."""

    at_s: float
    east_m: float
    north_m: float
    acc_m: float
    speed_mps: float | None


@dataclass(frozen=True, slots=True)
class GpsNoise:
    """Noise parameters in metres and seconds; ``reflections_s``: the mean time between episodes."""

    outdoors_m: float = 6.0
    indoors_m: float = 18.0
    memory_s: float = 25.0
    reflections_s: float = 150.0
    reflection_lasts_s: float = 9.0
    reflection_m: float = 45.0
    lost_fixes: float = 0.05
    reports_speed: bool = True

    def fixes(self, trace: Sequence[Point], rng: random.Random) -> Iterator[NoisyFix]:
        """Yield a fix for each point of a trace, except for lost ones."""
        east = rng.gauss(0, self.outdoors_m)
        north = rng.gauss(0, self.outdoors_m)
        reflected_until = -math.inf
        shift = (0.0, 0.0)
        before = trace[0].at_s if trace else 0.0
        for point in trace:
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
            # On average, the reported accuracy contains half of the reflection.
            acc_m = sigma + (rng.uniform(0.0, 1.0) * math.hypot(*off) if reflected else 0.0)
            speed = max(0.0, point.speed_mps + rng.gauss(0, 1.5 if reflected else 0.4))
            yield NoisyFix(
                point.at_s,
                point.east_m + east + off[0],
                point.north_m + north + off[1],
                acc_m,
                speed if self.reports_speed else None,
            )
