"""Reads instances of the Meal Delivery Routing Problem as scenarios under their own rules.

Instances of Grubhub and Georgia Tech (github.com/grubhub/mdrplib): minutes and metres in a plane.
Travel is ceil(Euclid ÷ metres a minute). A pickup is at the latest of ready time and arrival + half
the pickup service; the other half passes before the courier drives on; the drop-off alike. A pickup
is no later than the end of the courier's shift; couriers never refuse.
"""

import math
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.matching.travel_time import Points, TravelTime
from mallard_engine.core.model import Vehicle
from mallard_engine.core.places.geo import EARTH_RADIUS_M
from mallard_engine.core.policy import CostWeights, MarketPolicy, PlanCosts
from mallard_engine.input_files import InputError, Row, quoted, read_rows
from mallard_engine.simulation.pickup_points import market_of_points
from mallard_engine.simulation.scenario import (
    MIDNIGHT_MS,
    MINUTE_MS,
    Scenario,
    Service,
    Shift,
    SimulatedOrder,
)

T = TypeVar("T")

MARKET = "mdrp"
# A job's id has at most 64 characters and begins with its market.
_LONGEST_ID = 64 - len(f"job_{MARKET}.")
# An instance is one day of one town: larger values are errors in the file.
_LAST_MINUTE = 2 * 1_440
_FURTHEST_M = 1_000_000
# On the equator, where degrees of longitude and latitude have the same length.
_M_PER_DEG = EARTH_RADIUS_M * math.pi / 180
# Longer than any day: no cool-down and no stale position.
_SWEEP_S = 30.0
# The most orders of a bundle.
_BUNDLE_JOBS = 3
# How long an order waits after the last shift has ended.
_AFTER_MS = 5 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Order:
    """An order: its drop-off, and when it is placed and ready (minutes)."""

    id: str
    x: int
    y: int
    placement_time: int
    restaurant: str
    ready_time: int


@dataclass(frozen=True, slots=True)
class Courier:
    """A courier: its start and its shift (minutes)."""

    id: str
    x: int
    y: int
    on_time: int
    off_time: int


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of an instance, in minutes and money."""

    meters_per_minute: float
    pickup_service: int
    dropoff_service: int
    target_click_to_door: int
    maximum_click_to_door: int
    pay_per_order: float
    guaranteed_pay_per_hour: float


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as read from its files."""

    name: str
    orders: Mapping[str, Order]
    restaurants: Mapping[str, tuple[int, int]]
    couriers: Mapping[str, Courier]
    parameters: Parameters


def read_instance(folder: Path) -> Instance:
    """Read the four files of an instance. Raises `InputError`."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    restaurants = dict(
        _rows(
            folder / "restaurants.txt",
            lambda row: (row.id("restaurant"), _point(row)),
            key="restaurant",
        )
    )
    orders = _rows(
        folder / "orders.txt",
        lambda row: Order(
            row.id("order", _LONGEST_ID),
            *_point(row),
            row.whole("placement_time", 0, _LAST_MINUTE),
            _one_of(row, "restaurant", restaurants),
            row.whole("ready_time", 0, _LAST_MINUTE),
        ),
        key="order",
    )
    couriers = _rows(
        folder / "couriers.txt",
        lambda row: Courier(
            row.id("courier"),
            *_point(row),
            row.whole("on_time", 0, _LAST_MINUTE),
            row.whole("off_time", 0, _LAST_MINUTE),
        ),
        key="courier",
    )
    if all(courier.on_time >= courier.off_time for courier in couriers):
        raise InputError(f"{folder / 'couriers.txt'}: off_time: no shift ends after its start")
    (parameters, *_) = _rows(
        folder / "instance_parameters.txt",
        lambda row: Parameters(
            row.number("meters_per_minute", 1, 10_000),
            row.whole("pickup service minutes", 0, 1_440),
            row.whole("dropoff service minutes", 0, 1_440),
            row.whole("target click-to-door", 0, _LAST_MINUTE),
            row.whole("maximum click-to-door", 0, _LAST_MINUTE),
            row.number("pay per order", 0, 1e9),
            row.number("guaranteed pay per hour", 0, 1e9),
        ),
    )
    return Instance(
        folder.resolve().name,
        {order.id: order for order in orders},
        restaurants,
        {courier.id: courier for courier in couriers},
        parameters,
    )


def _point(row: Row) -> tuple[int, int]:
    return row.whole("x", -_FURTHEST_M, _FURTHEST_M), row.whole("y", -_FURTHEST_M, _FURTHEST_M)


def _one_of(row: Row, column: str, known: Container[str]) -> str:
    name = row.text(column)
    if name not in known:
        raise row.wrong(column, f"there is no {quoted(name)}")
    return name


def _rows(path: Path, read: Callable[[Row], T], *, key: str | None = None) -> list[T]:
    return read_rows(path, read, delimiter="\t", key=key)


class PlaneTravel(TravelTime):
    """The travel time of an instance: whole minutes along the straight line in its plane."""

    def __init__(self, meters_per_minute: float, origin: tuple[int, int]) -> None:
        self._meters_per_minute = meters_per_minute
        self._origin = origin

    def to_degrees(self, x: float, y: float) -> tuple[float, float]:
        """Return the latitude and longitude of a point of the plane, placed on the equator."""
        return (y - self._origin[1]) / _M_PER_DEG, (x - self._origin[0]) / _M_PER_DEG

    def distance_m(self, from_lat: float, from_lon: float, to_lat: float, to_lon: float) -> float:
        """Return metres in the plane, rounded: its coordinates are whole metres."""
        x = round(to_lon * _M_PER_DEG) - round(from_lon * _M_PER_DEG)
        y = round(to_lat * _M_PER_DEG) - round(from_lat * _M_PER_DEG)
        return math.hypot(x, y)

    def seconds(
        self, from_lat: float, from_lon: float, to_lat: float, to_lon: float, at_ms: int
    ) -> float:
        """See :class:`mallard_engine.core.matching.travel_time.TravelTime`."""
        del at_ms
        metres = self.distance_m(from_lat, from_lon, to_lat, to_lon)
        return 60.0 * math.ceil(metres / self._meters_per_minute)

    def matrix(self, froms: Points, tos: Points, at_ms: int) -> NDArray[np.float64]:
        """See :class:`mallard_engine.core.matching.travel_time.TravelTime`."""
        del at_ms
        from_y, from_x, to_y, to_x = (np.round(degrees * _M_PER_DEG) for degrees in (*froms, *tos))
        metres = np.hypot(to_y - from_y[:, None], to_x - from_x[:, None])
        minutes: NDArray[np.float64] = np.ceil(metres / self._meters_per_minute)
        return 60.0 * minutes


def default_policy(parameters: Parameters) -> MarketPolicy:
    """Return a policy with the rules of an instance.

    No driver loses its connection, so the time limits for silence are a day.
    """
    speed_mps = parameters.meters_per_minute / 60
    return MarketPolicy(
        stale_after_s=86_400.0,
        resume_ttl_s=86_400.0,
        at_mall_silence_s=86_400.0,
        cooldown_s=0.0,
        max_radius_m=100_000.0,
        # Every courier is a candidate for every order: with a few around each restaurant, the best
        # plan would not be among those considered.
        initial_radius_m=100_000.0,
        candidates=1024,
        retry_s=600.0,
        circuity=1.0,
        speed_mps=speed_mps,
        # The two halves of a pickup's service time are the walks to the counter and back.
        store_dwell_s=0.0,
        dwell_visits=0,  # it is known
        # For the engine, a delivery ends when its courier is free again.
        dropoff_dwell_s=parameters.dropoff_service * 60.0,
        block_covers="pickup",
        # The instance has no fairness and is evaluated by waits, not by deadlines.
        weights=CostWeights(idle=0.0, recent_decline_s=0.0, slack=0.0),
        round="batch",
        # All events are on whole minutes: the orders of one minute are one batch.
        window_ms=500,
        batch_jobs=10_000,
        max_batch_jobs=2_000,
        look_ahead_s=86_400.0,
        send_early_s=0.0,
        fading_s=0.0,  # no courier declines
        deals=2,
        max_run_jobs=_BUNDLE_JOBS,
        bundle_jobs=_BUNDLE_JOBS,
        plan=PlanCosts(age=0.0, left=0.0, haul=10.0, delay=0.02),
    )


def scenario_of(instance: Instance, policy: MarketPolicy, seed: int = 0) -> Scenario:
    """Return the instance as a scenario: each restaurant is a mall with one store."""
    places = list(instance.restaurants.values())
    middle = (
        sum(x for x, _ in places) // len(places),
        sum(y for _, y in places) // len(places),
    )
    travel = PlaneTravel(instance.parameters.meters_per_minute, middle)
    last_ms = _at_ms(max(courier.off_time for courier in instance.couriers.values())) + _AFTER_MS
    orders = tuple(
        SimulatedOrder(
            order.id,
            order.restaurant,
            *travel.to_degrees(order.x, order.y),
            placed_ms=_at_ms(order.placement_time),
            ready_ms=_at_ms(order.ready_time),
            best_by_ms=_at_ms(order.placement_time + instance.parameters.target_click_to_door),
            expires_ms=max(last_ms, _at_ms(order.placement_time) + _AFTER_MS),
        )
        for order in instance.orders.values()
    )
    shifts = tuple(
        Shift(
            courier.id,
            *travel.to_degrees(courier.x, courier.y),
            on_ms=_at_ms(courier.on_time),
            off_ms=_at_ms(courier.off_time),
            vehicle=Vehicle(max_jobs=_BUNDLE_JOBS),
        )
        for courier in instance.couriers.values()
        if courier.on_time < courier.off_time
    )
    return Scenario(
        name=instance.name,
        market=MARKET,
        places=market_of_points(
            MARKET,
            {name: travel.to_degrees(x, y) for name, (x, y) in instance.restaurants.items()},
            [(order.lat, order.lon) for order in orders]
            + [(shift.lat, shift.lon) for shift in shifts],
            walk_s=instance.parameters.pickup_service * 30,
        ),
        policy=policy,
        travel=travel,
        distance_m=travel.distance_m,
        service=Service(
            park_ms=0,  # it is the walk to the counter and back
            door_ms=instance.parameters.dropoff_service * MINUTE_MS // 2,
            leave_ms=instance.parameters.dropoff_service * MINUTE_MS // 2,
        ),
        orders=orders,
        shifts=shifts,
        start_ms=min(*(order.placed_ms for order in orders), *(shift.on_ms for shift in shifts)),
        end_ms=max(order.expires_ms for order in orders) + MINUTE_MS,
        seed=seed,
        sweep_s=_SWEEP_S,
        # In an instance only the orders are unknown in advance.
        blocks_known=True,
    )


def _at_ms(minute: int) -> int:
    return MIDNIGHT_MS + minute * MINUTE_MS


def minute_of(at_ms: int) -> int:
    """Return the minute of the day of a moment."""
    return (at_ms - MIDNIGHT_MS) // MINUTE_MS
