import random

import pytest

from load_tests.places import Mall, NoPlaces, RunPlaces
from mallard_engine.workload.road import moved

# A market whose western border runs half a kilometre beside the mall.
AREA = ((-111.905, 33.1), (-111.905, 33.5), (-111.5, 33.5), (-111.5, 33.1))
CHANDLER = Mall("chandler", "phoenix", (33.3, -111.9), ("lego", "apple"), AREA)
TYSONS = Mall(
    "tysons", "northern-virginia", (38.92, -77.22), ("nike",), ((-78, 38), (-78, 40), (-76, 39))
)
M_PER_DEGREE = 111_195


def away_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    north = (other[0] - one[0]) * M_PER_DEGREE
    east = (other[1] - one[1]) * M_PER_DEGREE * 0.836  # the cosine of 33.3°
    return float((north**2 + east**2) ** 0.5)


def test_moved_point_has_the_distance_and_direction() -> None:
    for heading in (0.0, 1.0, 3.0, 5.0):
        assert away_m((33.3, -111.9), moved((33.3, -111.9), 800, heading)) == pytest.approx(
            800, 0.01
        )
    assert moved((33.3, -111.9), 1000, 0.0)[0] > 33.3


def test_homes_and_dropoffs_are_near_and_in_the_service_area() -> None:
    rng, places = random.Random(1), RunPlaces([CHANDLER])
    for _ in range(300):
        mall, home = places.home(rng)
        assert mall is CHANDLER
        assert away_m(CHANDLER.at, home) <= 3_010
        assert home[1] > -111.905
        order = places.order(rng)
        assert away_m(CHANDLER.at, (order["dropoff"]["lat"], order["dropoff"]["lon"])) <= 5_010
        assert order["dropoff"]["lon"] > -111.905
        assert order["pickup"]["mall"] == "chandler"
        assert order["pickup"]["stores"][0]["store"] in CHANDLER.stores


def test_driver_lives_in_its_tokens_market() -> None:
    places = RunPlaces([CHANDLER, TYSONS])
    rng = random.Random(1)
    assert {places.home(rng, "northern-virginia")[0].id for _ in range(20)} == {"tysons"}
    assert {places.home(rng)[0].id for _ in range(20)} == {"chandler", "tysons"}
    with pytest.raises(NoPlaces, match="las-vegas"):
        places.home(rng, "las-vegas")


def test_first_mall_has_the_sale_and_drivers_near_it() -> None:
    places = RunPlaces([CHANDLER, TYSONS])
    rng = random.Random(1)
    homes = [places.home(rng, near_flash_mall=True)[0] for _ in range(20)]
    assert set(homes) == {places.flash_mall} == {CHANDLER}
    assert places.order(rng, places.flash_mall)["pickup"]["mall"] == "chandler"
