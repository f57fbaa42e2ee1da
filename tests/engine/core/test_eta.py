from datetime import UTC, datetime

import pytest

from engine.core.eta import StraightLine, TravelTime
from engine.core.geo import haversine_m

MALL = (33.301354, -111.898526)
NOON_UTC_MS = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)


def test_straight_line_is_distance_by_circuity_over_speed() -> None:
    eta: TravelTime = StraightLine(circuity=1.5, speed_mps=10)
    straight_m = haversine_m(33.40, -111.90, *MALL)
    assert eta.seconds(33.40, -111.90, *MALL, NOON_UTC_MS) == pytest.approx(straight_m * 0.15)
    assert eta.seconds(*MALL, *MALL, NOON_UTC_MS) == 0


def test_the_speed_of_the_local_hour_counts() -> None:
    slow_at_five = tuple(5.0 if hour == 5 else 20.0 for hour in range(24))
    eta = StraightLine(speed_by_hour=slow_at_five, time_zone="America/Phoenix")
    at_five = eta.seconds(33.40, -111.90, *MALL, NOON_UTC_MS)
    at_six = eta.seconds(33.40, -111.90, *MALL, NOON_UTC_MS + 3_600_000)
    assert at_five == pytest.approx(4 * at_six)


@pytest.mark.parametrize(
    ("circuity", "speed_mps", "table"),
    [
        (0.9, 10.0, ()),
        (float("nan"), 10.0, ()),
        (1.3, 0.0, ()),
        (1.3, 10.0, (1.0,) * 23),
        (1.3, 10.0, (1.0,) * 23 + (-1.0,)),
    ],
)
def test_figures_that_cannot_be_are_refused(
    circuity: float, speed_mps: float, table: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"circuity|speed"):
        StraightLine(circuity, speed_mps, table)
