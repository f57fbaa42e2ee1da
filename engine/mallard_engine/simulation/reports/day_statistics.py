"""Statistics of a simulated day: waits, lateness, kilometres, offers and work."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from mallard_engine.core.matching.fairness import gini
from mallard_engine.simulation.scenario import Day, Trip


@dataclass(frozen=True, slots=True)
class DayStatistics:
    """The statistics of a day, in minutes, kilometres and per cent.

    Attributes:
        served_by_nobody: Undelivered orders for which no driver was on shift between ready and
            expiry.
        wait_mean: From when a parcel was ready and ordered to its pickup.
        on_time_percent: The share of all orders that were dropped off by the wanted time.
        possible_percent: The share that a driver waiting at the counter could have dropped off by
            then.
        orders_per_run: A run is one visit to a mall.
        gini: Of the orders per hour of shift, over the drivers.
        gini_earnings: Of the earnings per hour of shift; None if no pay is known.
    """

    day: str
    orders: int
    delivered: int
    undelivered_percent: float
    served_by_nobody: int
    wait_mean: float | None
    wait_p95: float | None
    click_to_door_mean: float | None
    on_time_percent: float
    possible_percent: float
    km_per_order: float | None
    orders_per_run: float | None
    offers_per_order: float
    drivers: int
    driver_hours: float
    orders_per_hour: float
    utilisation_percent: float
    gini: float
    gini_earnings: float | None
    offers: dict[str, int]
    store_calls: int
    wall_s: float


def statistics_of(day: Day) -> DayStatistics:
    """Return the statistics of the day."""
    scenario, trips = day.scenario, day.trips
    orders = len(scenario.orders)
    waits = sorted(
        (trip.picked_up_ms - max(trip.order.ready_ms, trip.order.placed_ms)) / 60_000
        for trip in trips
    )
    ctd = [(trip.dropped_off_ms - trip.order.placed_ms) / 60_000 for trip in trips]
    hours = sum(shift.off_ms - shift.on_ms for shift in scenario.shifts) / 3_600_000
    at_work_ms = _at_work_ms(trips)
    km = [(trip.way_in_m + trip.way_out_m) / 1000 for trip in trips]
    return DayStatistics(
        day=scenario.name,
        orders=orders,
        delivered=len(trips),
        undelivered_percent=100 * (orders - len(trips)) / orders,
        served_by_nobody=served_by_nobody(day),
        wait_mean=fmean(waits) if waits else None,
        wait_p95=waits[int(0.95 * len(waits))] if waits else None,
        click_to_door_mean=fmean(ctd) if ctd else None,
        on_time_percent=100
        * sum(trip.dropped_off_ms <= trip.order.best_by_ms for trip in trips)
        / orders,
        possible_percent=100 * _possible(day) / orders,
        km_per_order=fmean(km) if km else None,
        orders_per_run=len(trips) / len({trip.run for trip in trips}) if trips else None,
        offers_per_order=sum(day.offers.values()) / orders,
        drivers=len(scenario.shifts),
        driver_hours=hours,
        orders_per_hour=len(trips) / hours,
        utilisation_percent=100 * at_work_ms / (3_600_000 * hours),
        gini=gini(work_per_hour(day)),
        gini_earnings=_gini_of_earnings(day),
        offers=day.offers,
        store_calls=day.store_calls,
        wall_s=day.wall_s,
    )


def served_by_nobody(day: Day) -> int:
    """Count the undelivered orders for which no driver was on shift between ready and expiry."""
    delivered = {trip.order.id for trip in day.trips}
    return sum(
        not any(
            shift.on_ms < order.expires_ms and shift.off_ms > order.ready_ms
            for shift in day.scenario.shifts
        )
        for order in day.scenario.orders
        if order.id not in delivered
    )


def _at_work_ms(trips: Sequence[Trip]) -> int:
    """Return the total time from departure to the last drop-off of all runs."""
    runs: dict[str, list[Trip]] = {}
    for trip in trips:
        runs.setdefault(trip.run, []).append(trip)
    return sum(
        max(trip.dropped_off_ms for trip in run) - min(trip.accepted_ms for trip in run)
        for run in runs.values()
    )


def _possible(day: Day) -> int:
    """Count the orders that a driver waiting at the counter could have delivered on time."""
    scenario, service = day.scenario, day.scenario.service
    possible = 0
    for order in scenario.orders:
        mall = scenario.places.mall(order.mall)
        way_s = scenario.travel.seconds(mall.lat, mall.lon, order.lat, order.lon, order.ready_ms)
        back_s = max(mall.stores[store].walk_s for store in order.stores)
        least_ms = round((back_s + way_s) * 1000) + service.door_ms
        possible += max(order.ready_ms, order.placed_ms) + least_ms <= order.best_by_ms
    return possible


def _gini_of_earnings(day: Day) -> float | None:
    earned: Counter[str] = Counter()
    for trip in day.trips:
        earned[trip.driver] += trip.order.pay_minor
    return gini(_by_hour(day, earned)) if earned.total() else None


def work_per_hour(day: Day) -> list[float]:
    """Return each driver's jobs per hour of its shift."""
    return _by_hour(day, Counter(trip.driver for trip in day.trips))


def _by_hour(day: Day, done: Mapping[str, int]) -> list[float]:
    """Return each driver's amount per hour of its shift."""
    return [
        done[shift.driver] / ((shift.off_ms - shift.on_ms) / 3_600_000)
        for shift in day.scenario.shifts
    ]
