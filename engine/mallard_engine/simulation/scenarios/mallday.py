"""A day of one real mall: parcels from its stores to nearby households, drivers on blocks.

Assumptions: orders come from 10:00 to 20:00, most in the late afternoon; a parcel is ready
10 to 40 minutes later; it is wanted by the evening (about 19:00, two hours from the order at the
least, 22:00 at the most); drivers work blocks of 3 to 4 hours, more of them in the evening, and
accept every offer. The malls are always open. Times are local to the mall.
"""

import random
from dataclasses import replace

from mallard_engine.core.matching.travel_time import StraightLine
from mallard_engine.core.places.geo import haversine_m
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.simulation.bad_day.orders import with_events
from mallard_engine.simulation.scenario import (
    MIDNIGHT_MS,
    MINUTE_MS,
    Scenario,
    Service,
    Shift,
    SimulatedOrder,
)
from mallard_engine.workload.bad_day.events import BadDay
from mallard_engine.workload.demand import Demand
from mallard_engine.workload.random_points import home_near

_OPENS, _CLOSES, _LATEST = 600.0, 1_200.0, 1_320.0
_ORDERS_PEAK, _WANTED_PEAK = 990.0, 1_140.0
_BLOCKS_END = 1_380.0


def default_policy() -> MarketPolicy:
    """Return the policy of a market that configures nothing.

    Two kinds of settings differ: no driver loses its connection, so limits for silence are a day,
    and the times at the counters are known.
    """
    return MarketPolicy(
        stale_after_s=86_400.0,
        resume_ttl_s=86_400.0,
        at_mall_silence_s=86_400.0,
        retry_s=60.0,  # drivers who become free start rounds: a retry finds none
        dwell_visits=0,
    )


def bad_day_policy() -> MarketPolicy:
    """Return the policy of a bad day: drivers lose their connections, so live limits apply."""
    live = MarketPolicy()
    return replace(
        default_policy(),
        stale_after_s=live.stale_after_s,
        resume_ttl_s=live.resume_ttl_s,
        at_mall_silence_s=live.at_mall_silence_s,
    )


def scenario_of(
    places: Places,
    demand: Demand,
    policy: MarketPolicy,
    *,
    mall: str,
    parcels: int,
    drivers: int,
    seed: int = 0,
    bad_day: BadDay | None = None,
) -> Scenario:
    """Return a day of a mall. Raises `KeyError` for a mall without demand."""
    catchment = next((c for c in demand.catchments if c.mall.id == mall), None)
    if catchment is None:
        raise KeyError(mall)
    rng = random.Random(f"{seed} {mall}")
    stores = tuple(catchment.mall.stores)
    orders = []
    for number in range(1, parcels + 1):
        placed = min(max(rng.triangular(_OPENS, _CLOSES, _ORDERS_PEAK), _OPENS), _CLOSES)
        wanted = min(max(rng.gauss(_WANTED_PEAK, 75.0), placed + 120.0), _LATEST)
        ready = placed + rng.uniform(10.0, 40.0)
        lat, lon = demand.dropoff(catchment, rng)
        orders.append(
            SimulatedOrder(
                f"o{number}",
                mall,
                lat,
                lon,
                placed_ms=_at_ms(placed),
                ready_ms=_at_ms(ready),
                best_by_ms=_at_ms(wanted),
                expires_ms=_at_ms(_BLOCKS_END),
                stores=(rng.choice(stores),),
            )
        )
    if bad_day is not None:
        orders = with_events(orders, bad_day)
    shifts = []
    for number in range(1, drivers + 1):
        long = rng.uniform(180.0, 240.0)
        starts = rng.triangular(_OPENS, _BLOCKS_END - long, _ORDERS_PEAK)
        home = home_near(catchment.mall, catchment.market, rng)
        shifts.append(
            Shift(
                f"d{number}",
                *home,
                on_ms=_at_ms(starts),
                off_ms=_at_ms(starts + long),
            )
        )
    return Scenario(
        name=f"{mall}, {parcels} parcels",
        market=catchment.market.id,
        places=places,
        policy=policy,
        travel=StraightLine.of(policy, catchment.market.time_zone),
        distance_m=lambda *ends: policy.circuity * haversine_m(*ends),
        service=Service(
            park_ms=round(policy.store_dwell_s * 1000),
            door_ms=round(policy.dropoff_dwell_s * 1000),
            leave_ms=0,
        ),
        orders=tuple(orders),
        shifts=tuple(shifts),
        start_ms=_at_ms(_OPENS - 30),
        end_ms=_at_ms(_BLOCKS_END + 60),
        # No driver declines or cools down: sweeps only end blocks.
        sweep_s=60.0,
        seed=seed,
        bad_day=bad_day,
    )


def _at_ms(minute: float) -> int:
    return MIDNIGHT_MS + round(minute * MINUTE_MS)
