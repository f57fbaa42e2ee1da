"""When a driver app is asked to report less often, and when as usual again."""

import pytest

from mallard_engine.core.reporting_interval import PARKED_AFTER_S, Reporting

MALL = (33.30, -111.90)
NEAR = (33.31, -111.90)
FAR = (33.70, -111.90)  # 44 km
USUAL_MS, SLOW_MS = 4_000, 20_000


def reporting(stale_after_s: float = 60) -> Reporting:
    return Reporting(USUAL_MS, stale_after_s, [MALL], radius_m=25_000)


def test_parked_driver_reports_less_often() -> None:
    driver = reporting()
    intervals = [driver.on_fix(*NEAR, at_s, busy=False) for at_s in range(0, 400, 4)]
    assert [each for each in intervals if each] == [SLOW_MS]
    assert intervals.index(SLOW_MS) == PARKED_AFTER_S / 4
    assert driver.on_fix(NEAR[0] + 0.002, NEAR[1], 404, busy=False) == USUAL_MS


def test_driver_far_from_every_mall_reports_less_often() -> None:
    driver = reporting()
    assert driver.on_fix(*FAR, 0, busy=False) == SLOW_MS
    assert driver.on_fix(FAR[0] + 0.01, FAR[1], 20, busy=False) is None
    assert driver.on_fix(*NEAR, 900, busy=False) == USUAL_MS


@pytest.mark.parametrize("place", [NEAR, FAR])
def test_busy_driver_reports_as_usual(place: tuple[float, float]) -> None:
    driver = reporting()
    assert not any(driver.on_fix(*place, at_s, busy=True) for at_s in range(0, 400, 4))
    assert driver.on_fix(*place, 404, busy=False) == SLOW_MS
    assert driver.speed_up(405) == USUAL_MS
    assert driver.speed_up(406) is None


def test_fixes_jumping_around_the_limit_cause_few_changes() -> None:
    driver = reporting()
    edge = 25_000 * 1.12 / 111_195
    intervals = [
        driver.on_fix(MALL[0] + edge + (0.02 if n % 2 else -0.001), MALL[1], n * 4, busy=False)
        for n in range(300)
    ]
    assert len([each for each in intervals if each]) <= 1


def test_slow_interval_is_a_third_of_position_validity() -> None:
    assert reporting(30).on_fix(*FAR, 0, busy=False) == 10_000
    assert reporting(9).on_fix(*FAR, 0, busy=False) is None
