"""The geofence against seeded noise: thousands of drives to malls and past them."""

import itertools
import random
from functools import cache

import pytest

from load_tests.benchmarks.geofence.gps_noise import GpsNoise, Point
from load_tests.benchmarks.geofence.mall_visits import (
    drive_by_share,
    visit_statistics,
    with_single_fix,
)
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.markets import Places

pytestmark = pytest.mark.slow

TRACES = 1_000
SEED = 7


@cache
def malls() -> tuple[Mall, ...]:
    return tuple(mall for mall in Places.load().malls.values() if mall.kind == "mall")


@pytest.mark.parametrize("reports_speed", [True, False])
def test_visits_are_noticed_and_last(reports_speed: bool) -> None:
    statistics = visit_statistics(malls(), GpsNoise(reports_speed=reports_speed), TRACES, SEED)
    assert statistics.missed <= 0.002
    assert statistics.too_early <= 0.005
    assert statistics.left_while_there <= (0.015 if reports_speed else 0.06)
    assert statistics.departure_missed <= 0.002


@pytest.mark.parametrize("beside_m", [20.0, 40.0, 100.0])
def test_drives_past_are_not_arrivals(beside_m: float) -> None:
    noise = GpsNoise()
    assert drive_by_share(malls(), noise, TRACES // 2, SEED, beside_m, light=False) <= 0.002
    at_light = drive_by_share(malls(), noise, TRACES // 2, SEED, beside_m, light=True)
    assert at_light <= {20.0: 0.15, 40.0: 0.06, 100.0: 0.005}[beside_m]


def test_noise_separates_the_fences() -> None:
    simple = visit_statistics(malls(), GpsNoise(), 300, SEED, with_single_fix)
    assert simple.left_while_there > 0.1
    assert drive_by_share(malls(), GpsNoise(), 300, SEED, 40.0, with_single_fix, light=False) > 0.9


def test_same_seed_gives_the_same_fixes() -> None:
    way = [Point(4.0 * n, 10.0 * n, 0.0, 2.5, hidden=3 <= n < 6) for n in range(50)]
    once, again = (list(GpsNoise().fixes(way, random.Random(3))) for _ in range(2))
    assert once == again
    assert not {12.0, 16.0, 20.0} & {fix.at_s for fix in once}


def test_errors_some_seconds_apart_are_nearly_the_same() -> None:
    still = [Point(float(second), 0.0, 0.0, 0.0) for second in range(4_000)]
    noise = GpsNoise(reflections_s=1e9, lost_fixes=0.0)
    east = [fix.east_m for fix in noise.fixes(still, random.Random(5))]
    spread = (sum(metres**2 for metres in east) / len(east)) ** 0.5
    assert spread == pytest.approx(noise.outdoors_m, rel=0.35)
    steps = [abs(b - a) for a, b in itertools.pairwise(east)]
    assert sum(steps) / len(steps) < 0.5 * spread
