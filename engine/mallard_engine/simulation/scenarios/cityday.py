"""Real delivery days of cities (Rappi, Colombia; github.com/sebastian-quintero/mdrp-sim).

The data contain positions, times and vehicles. Our assumptions: fixed speeds, a minute of service
at each end, and a courier's probability of accepting an offer, drawn from U(0.4, 1) as in the
thesis behind the data. Every pickup point is a mall with one store.
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path

from mallard_engine.core.matching.travel_time import StraightLine
from mallard_engine.core.places.geo import haversine_m
from mallard_engine.core.policy import CostWeights, MarketPolicy, PlanCosts
from mallard_engine.input_files import InputError, Row, quoted, read_rows
from mallard_engine.simulation.offer_histories import drawn_history
from mallard_engine.simulation.pickup_points import market_of_points
from mallard_engine.simulation.scenario import (
    MIDNIGHT_MS,
    MINUTE_MS,
    Scenario,
    Service,
    Shift,
    SimulatedOrder,
    cut_to,
)

MARKET = "city"
# A job's id has at most 64 characters and begins with its market.
_LONGEST_ID = 64 - len(f"job_{MARKET}.")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])", re.ASCII)
DAY_S = 86_400
# If the time between two events of an order or shift decreases by more than this, midnight has
# passed.
_BACK_S = 43_200
SPEED_MPS = 5.0
"""The mean speed of a courier on the road, whatever its vehicle: 18 km/h."""
CIRCUITY = 1.3
_ANSWER_MS = 5_000
_LEAST_ACCEPTANCE = 0.4
# An order expires this long after its parcel is ready.
_GIVE_UP_MS = 120 * MINUTE_MS
# The pay for an order: a fixed part, and a part per kilometre from pickup to drop-off.
_BASE_PAY = 200
_PAY_A_KM = 100
# A courier that starts further than this from every pickup is placed near a random one.
_FAR_M = 50_000.0
_SCATTER_DEG = 0.01


@dataclass(frozen=True, slots=True)
class CityOrder:
    """One order; seconds since the day's midnight, unwrapped."""

    id: str
    pickup: tuple[float, float]
    dropoff: tuple[float, float]
    placed_s: int
    ready_s: int
    expected_s: int


@dataclass(frozen=True, slots=True)
class CityCourier:
    """One courier; seconds since the day's midnight, as in the file."""

    id: str
    start: tuple[float, float]
    on_s: int
    off_s: int


@dataclass(frozen=True, slots=True)
class CityDay:
    """A day as read from its files. `dropped`: shifts that ended at or before their start."""

    name: str
    orders: tuple[CityOrder, ...]
    couriers: tuple[CityCourier, ...]
    dropped: int
    far: int


def read_day(folder: Path) -> CityDay:
    """Read a city day. Raises `InputError`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    orders = read_rows(folder / "orders.csv", _order, key="order_id")
    couriers = read_rows(folder / "couriers.csv", _courier, key="courier_id")
    at_work = [courier for courier in couriers if courier.off_s > courier.on_s]
    if not at_work:
        raise InputError(f"{folder / 'couriers.csv'}: no shift ends after its start")
    lat = sum(order.pickup[0] for order in orders) / len(orders)
    lon = sum(order.pickup[1] for order in orders) / len(orders)
    far = sum(haversine_m(*courier.start, lat, lon) > _FAR_M for courier in at_work)
    return CityDay(
        folder.resolve().name,
        tuple(orders),
        tuple(at_work),
        dropped=len(couriers) - len(at_work),
        far=far,
    )


def _order(row: Row) -> CityOrder:
    placed_s = _seconds(row, "placement_time")
    ready_s = _after(placed_s, _seconds(row, "ready_time"))
    return CityOrder(
        row.id("order_id", _LONGEST_ID),
        row.position("pick_up_lat", "pick_up_lng"),
        row.position("drop_off_lat", "drop_off_lng"),
        placed_s,
        max(ready_s, placed_s),
        _after(placed_s, _seconds(row, "expected_drop_off_time")),
    )


def _courier(row: Row) -> CityCourier:
    return CityCourier(
        row.id("courier_id"),
        row.position("on_lat", "on_lng"),
        _seconds(row, "on_time"),
        _seconds(row, "off_time"),
    )


def _seconds(row: Row, column: str) -> int:
    clock = _CLOCK.fullmatch(row.text(column))
    if clock is None:
        raise row.wrong(
            column, f"{quoted(row.text(column))} is not a time of day from 00:00:00 to 23:59:59"
        )
    hours, minutes, seconds = map(int, clock.groups())
    return hours * 3600 + minutes * 60 + seconds


def _after(from_s: int, at_s: int) -> int:
    """Return the time unwrapped: after midnight if it decreases by half a day."""
    return at_s + DAY_S if at_s < from_s - _BACK_S else at_s


def default_policy() -> MarketPolicy:
    """Return a policy with batch rounds for couriers who may decline.

    No courier loses its connection, so the time limits for silence are a day.
    """
    return MarketPolicy(
        stale_after_s=86_400.0,
        resume_ttl_s=86_400.0,
        at_mall_silence_s=86_400.0,
        max_radius_m=10_000.0,
        initial_radius_m=1_500.0,
        retry_s=30.0,
        circuity=CIRCUITY,
        speed_mps=SPEED_MPS,
        store_dwell_s=60.0,
        dwell_visits=0,  # it is known
        dropoff_dwell_s=60.0,
        block_covers="pickup",
        max_run_jobs=1,
        weights=CostWeights(slack=0.0),
        round="batch",
        window_ms=10_000,
        batch_jobs=10_000,
        max_batch_jobs=400,
        look_ahead_s=900.0,
        send_early_s=60.0,
        # There are more couriers than needed, so kilometres count. A courier that would be early is
        # sent later and does not wait: a cost on waiting would prefer distant couriers.
        plan=PlanCosts(travel=0.3, wait=0.0),
    )


def scenario_of(
    day: CityDay, policy: MarketPolicy, *, fleet: float = 1.0, seed: int = 0, known_offers: int = 0
) -> Scenario:
    """Return the day with the share `fleet` of the couriers.

    Args:
        known_offers: The number of earlier offers in each courier's history.
    """
    points = sorted({order.pickup for order in day.orders})
    names = {point: f"p{number}" for number, point in enumerate(points)}
    rng = random.Random(f"{seed} {day.name}")
    orders = tuple(
        SimulatedOrder(
            order.id,
            names[order.pickup],
            *order.dropoff,
            placed_ms=_at_ms(order.placed_s),
            ready_ms=_at_ms(order.ready_s),
            best_by_ms=_at_ms(order.expected_s),
            expires_ms=_at_ms(order.ready_s) + _GIVE_UP_MS,
            pay_minor=_BASE_PAY + round(_PAY_A_KM * _road_m(*order.pickup, *order.dropoff) / 1000),
        )
        for order in day.orders
    )
    middle = points[len(points) // 2]
    shifts = []
    for courier in day.couriers[:: max(1, round(1 / fleet))]:
        start = courier.start
        if haversine_m(*start, *middle) > _FAR_M:
            around = rng.choice(points)
            start = (
                around[0] + rng.gauss(0, _SCATTER_DEG),
                around[1] + rng.gauss(0, _SCATTER_DEG),
            )
        acceptance = rng.uniform(_LEAST_ACCEPTANCE, 1.0)
        former = random.Random(f"{seed} {day.name} {courier.id}")
        shifts.append(
            Shift(
                courier.id,
                *start,
                on_ms=_at_ms(courier.on_s),
                off_ms=_at_ms(courier.off_s),
                acceptance=acceptance,
                history=drawn_history(known_offers, acceptance, former),
            )
        )
    return Scenario(
        name=f"city-day {day.name}",
        market=MARKET,
        places=market_of_points(
            MARKET,
            {name: point for point, name in names.items()},
            [(order.lat, order.lon) for order in orders]
            + [(shift.lat, shift.lon) for shift in shifts],
        ),
        policy=policy,
        travel=StraightLine(CIRCUITY, SPEED_MPS),
        distance_m=_road_m,
        service=Service(park_ms=MINUTE_MS, door_ms=MINUTE_MS, leave_ms=0),
        orders=orders,
        shifts=tuple(shifts),
        start_ms=min(*(order.placed_ms for order in orders), *(shift.on_ms for shift in shifts)),
        end_ms=max(order.expires_ms for order in orders) + MINUTE_MS,
        answer_ms=_ANSWER_MS,
        seed=seed,
    )


def from_hour(scenario: Scenario, hour: int) -> Scenario:
    """Return the day from an hour on. Raises `InputError` if nothing is left of it."""
    rest = cut_to(scenario, _at_ms(hour * 3600))
    if not rest.orders or not rest.shifts:
        raise InputError(f"{scenario.name}: no order or no courier on shift from {hour}:00 on")
    return rest


def _road_m(from_lat: float, from_lon: float, to_lat: float, to_lon: float) -> float:
    return CIRCUITY * haversine_m(from_lat, from_lon, to_lat, to_lon)


def _at_ms(second: int) -> int:
    return MIDNIGHT_MS + second * 1000
