"""A day whose drivers take ten minutes at each counter where the policy says two."""

from dataclasses import replace
from statistics import median

import pytest
import redis

from mallard_engine.core.places.markets import Places
from mallard_engine.simulation.run_day import job_id, simulate
from mallard_engine.simulation.scenario import Day, Scenario
from mallard_engine.simulation.scenarios import mallday
from mallard_engine.workload.demand import Demand

pytestmark = pytest.mark.slow

MALL = "chandler-fashion-center"
COUNTER_S, PRIOR_S = 600, 120
PLACES = Places.load(opening_hours=False)


def scenario(dwell_visits: int) -> Scenario:
    policy = replace(
        mallday.default_policy(),
        # Only a driver with one order shows how long its shop took.
        preset="express",
        round="instant",
        store_dwell_s=float(PRIOR_S),
        dwell_visits=dwell_visits,
        # The jobs' fields are read when the day is over.
        pack_after_s=0.0,
    )
    day = mallday.scenario_of(
        PLACES, Demand(PLACES, []), policy, mall=MALL, parcels=80, drivers=60, seed=3
    )
    return replace(day, service=replace(day.service, park_ms=COUNTER_S * 1000))


def late_s(day: Day, redis_url: str) -> list[float]:
    """By how much each parcel was in hand later than its job's ETA said, of those that were not
    waited for; in the order in which they were accepted."""
    late = []
    with redis.Redis.from_url(redis_url) as client:
        for trip in sorted(day.trips, key=lambda trip: trip.accepted_ms):
            if trip.order.ready_ms <= trip.arrived_ms:
                key = f"mallard:{{{day.scenario.market}}}:job:{job_id(day.scenario, trip.order)}"
                eta_ms = int(client.hget(key, "promised_ms") or 0)
                late.append((trip.picked_up_ms - eta_ms) / 1000)
    return late


def test_etas_learn_what_the_counters_take(redis_url: str) -> None:
    untaught = late_s(simulate(scenario(0), redis_url), redis_url)
    assert median(untaught[-20:]) > COUNTER_S - PRIOR_S - 60
    taught = late_s(simulate(scenario(5), redis_url), redis_url)
    assert median(taught[:5]) > COUNTER_S - PRIOR_S - 60
    # Ten minutes and the walk fall into one bucket or the next.
    assert abs(median(taught[-20:])) < 60


def test_day_that_learns_is_the_same_day_again(redis_url: str) -> None:
    first, again = (simulate(scenario(5), redis_url) for _ in range(2))
    assert again.events == first.events
    assert again.trips == first.trips
