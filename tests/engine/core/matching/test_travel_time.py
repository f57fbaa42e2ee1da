import math
import random
from datetime import UTC, datetime

import pytest

from mallard_engine.core.matching.speed_by_hour import SpeedByHour
from mallard_engine.core.matching.travel_time import Points, StraightLine, TravelTime
from mallard_engine.core.places.geo import haversine_m

MALL = (33.301354, -111.898526)
NOON_UTC_MS = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000


class Metres(TravelTime):
    """A source that implements single pairs only."""

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        del at_ms
        return haversine_m(from_lat, from_lon, to_lat, to_lon)


def test_straight_line_is_distance_by_circuity_over_speed() -> None:
    eta: TravelTime = StraightLine(circuity=1.5, speed_mps=10)
    straight_m = haversine_m(33.40, -111.90, *MALL)
    assert eta.seconds(33.40, -111.90, *MALL, NOON_UTC_MS) == pytest.approx(straight_m * 0.15)
    assert eta.seconds(*MALL, *MALL, NOON_UTC_MS) == 0


def test_speed_of_the_local_hour_applies() -> None:
    slow_at_five = tuple(5.0 if hour == 5 else 20.0 for hour in range(24))
    eta = StraightLine(speed_by_hour=slow_at_five, time_zone="America/Phoenix")
    at_five = eta.seconds(33.40, -111.90, *MALL, NOON_UTC_MS)
    at_six = eta.seconds(33.40, -111.90, *MALL, NOON_UTC_MS + HOUR_MS)
    assert at_five == pytest.approx(4 * at_six)
    assert eta.road_s(1000, NOON_UTC_MS) == pytest.approx(4 * eta.road_s(1000, NOON_UTC_MS - 1))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
def test_local_hour_follows_the_time_zone(zone: str) -> None:
    from zoneinfo import ZoneInfo  # noqa: PLC0415

    speed = SpeedByHour(9.0, tuple(float(hour + 1) for hour in range(24)), zone)
    rng = random.Random(7)
    for _ in range(500):
        at_ms = rng.randrange(1_700_000_000_000, 1_800_000_000_000)
        local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone))
        assert speed.mps(at_ms) == local.hour + 1
        assert speed.slowness(at_ms) == 9.0 / (local.hour + 1)


@pytest.mark.parametrize(
    ("circuity", "speed_mps", "table"),
    [
        (0.9, 10.0, ()),
        (math.nan, 10.0, ()),
        (1.3, 0.0, ()),
        (1.3, math.inf, ()),
        (1.3, 10.0, (1.0,) * 23),
        (1.3, 10.0, (1.0,) * 23 + (-1.0,)),
        (1.3, 10.0, (1.0,) * 23 + (math.nan,)),
    ],
)
def test_invalid_speeds_and_circuity_are_refused(
    circuity: float, speed_mps: float, table: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"circuity|speed"):
        StraightLine(circuity, speed_mps, table)


@pytest.mark.parametrize(
    "source",
    [StraightLine(1.3, 9.0), StraightLine(1.2, 9.0, tuple(map(float, range(1, 25)))), Metres()],
)
def test_matrix_equals_single_pairs(source: TravelTime) -> None:
    rng = random.Random(4)
    places = [(33 + rng.uniform(-0.2, 0.2), -112 + rng.uniform(-0.2, 0.2)) for _ in range(6)]
    froms, tos = places[:2], places[2:]
    table = source.matrix(Points.of(froms), Points.of(tos), NOON_UTC_MS)
    assert table.shape == (2, 4)
    for row, here in enumerate(froms):
        for column, there in enumerate(tos):
            expected = source.seconds(*here, *there, NOON_UTC_MS)
            assert table[row, column] == pytest.approx(expected)
    assert source.matrix(Points.of(()), Points.of(tos), NOON_UTC_MS).shape == (0, 4)
