"""Where orders come from."""

import random
from pathlib import Path

from mallard_engine.core.places.markets import Places
from mallard_engine.workload.demand import Demand, Zip, load_zips
from mallard_engine.workload.random_points import home_near, point_around
from mallard_engine.workload.road import distance_m

PLACES = Places.load()
HEADER = "zip,state,primary_city,lat,lon,timezone,land_area_sq_mi,population,households,tier\n"


def test_orders_follow_the_households() -> None:
    mall = PLACES.mall("chandler-fashion-center")
    next_door = Zip((mall.lat, mall.lon), 1_000, 10_000)
    everywhere = [Zip((m.lat, m.lon), 1_000, 1) for m in PLACES.malls.values()]
    demand = Demand(PLACES, [next_door, *everywhere])
    assert demand.weighted
    rng = random.Random(1)
    jobs = [demand.job(number, rng) for number in range(100)]
    from_mall = [job for job in jobs if job.pickup.mall == mall.id]
    assert len(from_mall) > 70
    for job in from_mall:
        drop = (job.dropoff.lat, job.dropoff.lon)
        assert distance_m((mall.lat, mall.lon), drop) <= 15_000
        assert job.pickup.stores[0].store in mall.stores
    assert len({job.external_id for job in jobs}) == 100


def test_without_zip_codes_dropoffs_are_anywhere_near() -> None:
    demand = Demand(PLACES, ())
    assert "no ZIP table" in demand.source
    rng = random.Random(1)
    malls = set()
    for number in range(200):
        job = demand.job(number, rng)
        market = PLACES.market_of_mall(job.pickup.mall)
        malls.add(job.pickup.mall)
        mall = PLACES.mall(job.pickup.mall)
        drop = (job.dropoff.lat, job.dropoff.lon)
        assert market.holds(*drop)
        assert distance_m((mall.lat, mall.lon), drop) <= 14_100
    assert len(malls) == len(demand.catchments) == 10


def test_same_seed_draws_the_same_orders() -> None:
    demand = Demand(PLACES, ())
    assert demand.job(1, random.Random(7)) == demand.job(1, random.Random(7))


def test_table_is_read_from_the_datasets_folder(tmp_path: Path) -> None:
    table = tmp_path / "places" / "zips_az_nv_va_dc_md.csv"
    table.parent.mkdir()
    table.write_text(HEADER + "85226,AZ,Chandler,33.3,-111.9,America/Phoenix,3.0,1000,400,urban\n")
    (area,) = load_zips({"MALLARD_DATASETS": str(tmp_path)})
    assert area.centre == (33.3, -111.9)
    assert area.households == 400
    assert 1_500 < area.radius_m < 1_600
    assert load_zips({}) == ()


def test_homes_are_near_their_mall_and_in_the_area() -> None:
    rng = random.Random(1)
    mall = PLACES.mall("chandler-fashion-center")
    market = PLACES.market_of_mall(mall.id)
    for _ in range(100):
        home = home_near(mall, market, rng)
        assert market.holds(*home)
        assert distance_m((mall.lat, mall.lon), home) <= 8_050


def test_points_fill_a_circle_evenly() -> None:
    rng = random.Random(1)
    centre = (33.3, -111.9)
    away = [distance_m(centre, point_around(centre, 1_000, rng)) for _ in range(2_000)]
    inner = sum(metres < 500 for metres in away)
    assert 400 < inner < 600
