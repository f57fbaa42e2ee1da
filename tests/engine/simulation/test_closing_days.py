"""Random orders at two malls around closing, on the real scripts in virtual time.

Whatever the hours, the policy and the places of the drivers: a parcel that a driver was offered is
collected before its mall closes and its job expires, and a job ends no sooner than it expires.
Where drivers are plenty, a job that an opening allowed time for is carried out.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest

from mallard_engine.core.matching.travel_time import StraightLine
from mallard_engine.core.model import Need, Vehicle
from mallard_engine.core.pickup.pickup_deadline import at_next_opening
from mallard_engine.core.pickup.pickup_plan import job_tour
from mallard_engine.core.places.mall import Mall
from mallard_engine.core.places.markets import Places
from mallard_engine.core.places.opening_hours import OpeningHours, opening_at, together
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
from tests.engine.core import makers

pytestmark = [pytest.mark.slow, pytest.mark.finding("D2"), pytest.mark.finding("D3")]

SEEDS = range(100 if os.environ.get("MALLARD_TEST_DEEP") == "1" else 3)
NAMES = ("chandler-fashion-center", "arizona-mills")
SHIPPED = Places.load().market("phoenix")
START = int(datetime.fromisoformat("2026-11-23T20:20:00-07:00").timestamp()) * 1000
START_MIN = 20 * 60 + 20
END = START + 150 * MINUTE_MS
POLICIES: tuple[dict[str, Any], ...] = (
    {},
    {"preset": "express"},
    {"offer_rungs": ("staggered 3/5",), "preset": "express"},
    {"round": "batch", "max_run_jobs": 1},
    {"round": "batch", "max_run_jobs": 3, "bundle_jobs": 3},
    {"max_run_jobs": 3},
)
# From an offer to the gate, for a driver nearby who is just back; a round may be a retry late.
REACTION_MS = 12 * MINUTE_MS


@dataclass(frozen=True)
class Drawn:
    """``plenty``: more drivers near the malls than there are orders."""

    scenario: Scenario
    malls: dict[str, Mall]
    plenty: bool


def drawn(seed: int) -> Drawn:
    draw = random.Random(seed)
    policy = MarketPolicy(retry_s=30.0, **draw.choice(POLICIES))
    malls = {name: _mall(SHIPPED.malls[name], _hours(draw), seed) for name in NAMES}
    places = Places([replace(SHIPPED, malls={**SHIPPED.malls, **malls})])
    orders = tuple(_order(draw, number, malls[draw.choice(NAMES)]) for number in range(6))
    plenty = draw.random() < 0.5
    scenario = Scenario(
        name="closing",
        market="phoenix",
        places=places,
        policy=policy,
        travel=StraightLine(policy.circuity, policy.speed_mps),
        distance_m=lambda *_: 0.0,
        service=Service(int(policy.store_dwell_s * 1000), 30_000, 0),
        orders=orders,
        shifts=tuple(_shifts(draw, list(malls.values()), plenty=plenty)),
        start_ms=START,
        end_ms=END,
        answer_ms=draw.choice((0, 5_000)),
        sweep_s=60.0,
        seed=seed,
    )
    return Drawn(scenario, malls, plenty)


def _hours(draw: random.Random) -> OpeningHours:
    """Closes 20 to 70 minutes from the start on, and opens again 10 to 40 minutes later."""
    closes = START_MIN + draw.randrange(20, 70)
    opens = closes + draw.randrange(10, 40)
    return OpeningHours("America/Phoenix", (((600, closes), (opens, opens + 120)),) * 7)


def _mall(shipped: Mall, hours: OpeningHours, seed: int) -> Mall:
    """A third of its stores close up to 15 minutes before it, and open as much after it."""
    own = random.Random(f"{shipped.id}/{seed}")
    assert hours.week is not None
    stores = {}
    for store in shipped.stores.values():
        cut = own.randrange(15) if own.random() < 1 / 3 else 0
        day = tuple((start + cut, end - cut) for start, end in hours.week[0])
        its = OpeningHours(hours.time_zone, (day,) * 7) if cut else None
        stores[store.id] = replace(store, hours=its)
    return replace(shipped, hours=hours, stores=stores)


def _order(draw: random.Random, number: int, mall: Mall) -> SimulatedOrder:
    """Placed in the last half hour before closing, or a little later."""
    closes_ms = opening_at(mall.hours, START).to_ms
    assert closes_ms is not None
    placed_ms = max(closes_ms + draw.randrange(-30, 5) * MINUTE_MS, START)
    expires_ms = placed_ms + draw.choice((15, 60, 80)) * MINUTE_MS
    return SimulatedOrder(
        id=f"{number:026d}",
        mall=mall.id,
        **_spot(draw, mall, 0.03),
        placed_ms=placed_ms,
        ready_ms=placed_ms + draw.choice((0, 0, 10)) * MINUTE_MS,
        best_by_ms=expires_ms,
        expires_ms=expires_ms,
        stores=tuple(draw.sample(sorted(mall.stores), draw.choice((1, 1, 2)))),
    )


def _shifts(draw: random.Random, malls: list[Mall], *, plenty: bool) -> list[Shift]:
    places = [(mall, 0.01) for mall in malls for _ in range(7 if plenty else 0)]
    places += [(draw.choice(malls), 0.12) for _ in range(4)]
    return [
        Shift(
            f"d{number}",
            **_spot(draw, mall, away_deg),
            on_ms=START,
            off_ms=END,
            vehicle=Vehicle(max_jobs=3),
        )
        for number, (mall, away_deg) in enumerate(places)
    ]


def _spot(draw: random.Random, mall: Mall, away_deg: float) -> dict[str, Any]:
    return {
        "lat": mall.lat + draw.uniform(-away_deg, away_deg),
        "lon": mall.lon + draw.uniform(-away_deg, away_deg),
    }


def check(of: Drawn, day: Day) -> None:
    for trip in day.trips:
        assert trip.picked_up_ms <= trip.order.expires_ms, f"{trip} came too late"
        opening = opening_at(_hours_of(of, trip.order), trip.picked_up_ms - 1)
        assert opening.from_ms <= trip.picked_up_ms, f"{trip} came to a closed mall or store"
    carried_out = {trip.order.id for trip in day.trips}
    ended = {
        str(event["job"]).partition(".")[2]: int(str(event["at"]))
        for event in day.events
        if event["kind"] == "job" and event["to"] == "expired"
    }
    for order in of.scenario.orders:
        if order.id in carried_out or order.expires_ms > END - REACTION_MS:
            continue
        assert ended[order.id] >= order.expires_ms, f"{order} died before its time"
        assert not (of.plenty and _could_be_collected(of, order)), f"{order} was left to die"


def _hours_of(of: Drawn, order: SimulatedOrder) -> OpeningHours:
    mall = of.malls[order.mall]
    own = [hours for store in order.stores if (hours := mall.stores[store].hours)]
    return together((mall.hours, *own))


def _could_be_collected(of: Drawn, order: SimulatedOrder) -> bool:
    """Whether an opening has ample time for it."""
    mall, policy = of.malls[order.mall], of.scenario.policy
    need = makers.need(order.ready_ms, stores=order.stores)
    tour = job_tour(mall, need, lambda *_: policy.store_dwell_s, order.ready_ms)
    needs_ms = tour.collect_ms + REACTION_MS
    at_ms = max(order.placed_ms, order.ready_ms)
    while at_ms < order.expires_ms:
        opening = opening_at(_hours_of(of, order), at_ms)
        assert opening.to_ms is not None
        from_ms = max(opening.from_ms, at_ms)
        if from_ms + needs_ms <= min(opening.to_ms, order.expires_ms):
            return True
        at_ms = opening.to_ms
    return False


@pytest.mark.parametrize("seed", SEEDS)
def test_closing_sends_no_driver_in_vain_and_ends_no_job(redis_url: str, seed: int) -> None:
    of = drawn(seed)
    check(of, simulate(of.scenario, redis_url))


def _an_hour_late(mall: Mall, need: Need, collect_ms: int, now_ms: int) -> Need | None:
    moved = at_next_opening(mall, need, collect_ms, now_ms)
    return moved and replace(moved, ready_ms=moved.ready_ms + 60 * MINUTE_MS)


def _of_the_mall_alone(mall: Mall, _stores: tuple[str, ...]) -> OpeningHours:
    return mall.hours


def _until_it_expires(_mall: Mall, need: Need, _now_ms: int) -> int:
    return need.expires_ms


@pytest.mark.parametrize(
    ("module", "name", "bug", "ends"),
    [
        ("mallard_engine.dispatch.next_opening", "at_next_opening", _an_hour_late, "left to die"),
        (
            "mallard_engine.core.matching.ranking",
            "collect_by_ms",
            _until_it_expires,
            "came to a closed mall or store",
        ),
        (
            "mallard_engine.core.places.mall",
            "Mall.hours_of",
            _of_the_mall_alone,
            "came to a closed mall or store",
        ),
    ],
)
def test_planted_bug_at_closing_is_found(
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    bug: Callable[..., object],
    ends: str,
) -> None:
    monkeypatch.setattr(f"{module}.{name}", bug)

    def look() -> None:
        for seed in range(12):
            of = drawn(seed)
            check(of, simulate(of.scenario, redis_url))

    with pytest.raises(AssertionError, match=ends):
        look()
