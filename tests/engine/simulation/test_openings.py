"""Around closing time, on the real scripts in virtual time: nobody is sent in vain, no order dies
while its window allows another opening."""

import random
from collections import defaultdict
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from mallard_engine.core.matching.travel_time import StraightLine
from mallard_engine.core.model import Vehicle
from mallard_engine.core.pickup.pickup_plan import job_tour
from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.opening_hours import OpeningHours, opening_at, parse_spans
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.simulation.run_day import simulate
from mallard_engine.simulation.scenario import (
    MINUTE_MS,
    Day,
    Scenario,
    Service,
    Shift,
    SimulatedOrder,
)

pytestmark = pytest.mark.slow

# The mall is closed for three quarters of an hour, which is a short night to simulate.
HOURS = OpeningHours("America/Phoenix", (parse_spans("10:00-21:00, 21:45-24:00"),) * 7)
PLACES = Places.load()
MALL = replace(PLACES.mall("chandler-fashion-center"), hours=HOURS)
PLACES.malls[MALL.id] = PLACES.markets[MALL.market].malls[MALL.id] = MALL  # type: ignore[index]
CLOSES = int(datetime.fromisoformat("2026-11-23T21:00:00-07:00").timestamp()) * 1000
START, END = CLOSES - 40 * MINUTE_MS, CLOSES + 130 * MINUTE_MS
POLICIES: dict[str, dict[str, Any]] = {
    "instant": {},
    "express": {"preset": "express"},
    "single": {"max_run_jobs": 1},
    "staggered": {"offer_rungs": ("staggered 3/5",), "max_run_jobs": 1},
    "batch": {"round": "batch", "max_run_jobs": 1},
    "bundles": {"round": "batch", "max_run_jobs": 3, "bundle_jobs": 3},
    "runs": {"max_run_jobs": 3},
    "late runs": {
        "max_run_jobs": 3,
        "hold_max_s": 7_200.0,
        "hold_margin_s": 300.0,
        "preset": "same_day",
    },
}


def scenario(policy: MarketPolicy, seed: int) -> Scenario:
    """Orders from forty minutes before closing on, some for later, and drivers all over town."""
    draw = random.Random(seed)
    stores = sorted(MALL.stores)

    def spot(away_deg: float) -> dict[str, Any]:
        return {
            "lat": MALL.lat + draw.uniform(-away_deg, away_deg),
            "lon": MALL.lon + draw.uniform(-away_deg, away_deg),
        }

    orders = []
    for number in range(10):
        placed_ms = START + draw.randrange(60 * MINUTE_MS)
        by_ms = placed_ms + draw.choice((20, 45, 120, 150, 180)) * MINUTE_MS
        orders.append(
            SimulatedOrder(
                id=f"{number:026d}",
                mall=MALL.id,
                **spot(0.04),
                placed_ms=placed_ms,
                ready_ms=placed_ms + draw.choice((0, 0, 10, 30)) * MINUTE_MS,
                best_by_ms=by_ms,
                expires_ms=by_ms,
                stores=tuple(draw.sample(stores, draw.choice((1, 1, 2)))),
            )
        )
    shifts = tuple(
        Shift(
            f"d{number}",
            **spot(0.08),
            on_ms=START + draw.randrange(30 * MINUTE_MS),
            off_ms=END,
            vehicle=Vehicle(max_jobs=3),
        )
        for number in range(4)
    )
    return Scenario(
        name="closing",
        market="phoenix",
        places=PLACES,
        policy=policy,
        travel=StraightLine(policy.circuity, policy.speed_mps),
        distance_m=lambda *_: 0.0,
        service=Service(int(policy.store_dwell_s * 1000), 30_000, 0),
        orders=tuple(orders),
        shifts=shifts,
        start_ms=START,
        end_ms=END,
        sweep_s=60.0,
        seed=seed,
    )


def collectable_ms(order: SimulatedOrder, from_ms: int, policy: MarketPolicy) -> int:
    """For how long after `from_ms` the mall is open with the order ready and not yet expired."""
    at_ms, total_ms = max(from_ms, order.ready_ms), 0
    while at_ms < order.expires_ms:
        opening = opening_at(MALL.hours, at_ms)
        assert opening.to_ms is not None
        until_ms = min(opening.to_ms, order.expires_ms)
        total_ms += max(until_ms - max(opening.from_ms, at_ms), 0)
        at_ms = opening.to_ms
    return total_ms


def check(day: Day) -> set[str]:
    """Hold the day against what it promises; the causes of all changes."""
    policy = day.scenario.policy
    orders = {f"job_phoenix.{order.id}": order for order in day.scenario.orders}
    for trip in day.trips:
        assert trip.picked_up_ms <= trip.order.expires_ms
        opening = opening_at(MALL.hours, trip.picked_up_ms - 1)
        assert opening.from_ms - 1 <= trip.picked_up_ms - 1, "collected while the mall is closed"
    changes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in day.events:
        if event["kind"] == "job":
            changes[str(event["job"])].append(dict(event))
    for job, events in changes.items():
        order = orders[job]
        last = events[-1]
        if last["to"] != "expired":
            continue
        assert int(last["at"]) >= order.expires_ms, "it died before its time"
        # A job that expires had no opening but the one that it came in, with every driver too far
        # off or busy, or none at all.
        collect_ms = _collect_ms(order, policy)
        assert collectable_ms(order, CLOSES, policy) < collect_ms + 60 * MINUTE_MS
    return {str(event["cause"]) for events in changes.values() for event in events}


def _collect_ms(order: SimulatedOrder, policy: MarketPolicy) -> int:
    from tests.engine.core import makers  # noqa: PLC0415 - only its shape of a need

    need = makers.need(order.ready_ms, stores=order.stores)
    return job_tour(MALL, need, lambda *_: policy.store_dwell_s, order.ready_ms).collect_ms


@pytest.mark.finding("D2")
@pytest.mark.finding("D3")
@pytest.mark.parametrize("how", POLICIES)
def test_around_closing_no_trip_is_in_vain(redis_url: str, how: str) -> None:
    day = simulate(scenario(MarketPolicy(retry_s=30.0, **POLICIES[how]), seed=1), redis_url)
    causes = check(day)
    assert "mall_closes" in causes
    assert any(trip.picked_up_ms > CLOSES for trip in day.trips), "none was collected later"
