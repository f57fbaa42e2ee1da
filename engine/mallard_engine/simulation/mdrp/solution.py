"""Writes a simulated MDRP day as the files of the benchmark's evaluator, and its statistics.

The statistics are those of the literature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

from mallard_engine.simulation.mdrp.instance_files import Instance, minute_of
from mallard_engine.simulation.scenario import Day, Trip

_ASSIGNMENTS = "assignment_time pickup_time courier orders"
_ORDERS = "order placement_time ready_time pickup_time dropoff_time courier"
_COURIERS = "courier departure_time origin destination"
_START = "0"


@dataclass(frozen=True, slots=True)
class MdrpStatistics:
    """The statistics of one instance, in minutes, per cent and the instance's money.

    Means are over the delivered orders, None without any.
    """

    instance: str
    orders: int
    delivered: int
    undelivered_percent: float
    ctd_mean: float | None
    ctd_max: int | None
    rtp_mean: float | None
    rtp_max: int | None
    over_target_percent: float | None
    over_maximum_percent: float | None
    cost_per_order: float | None
    utilisation_percent: float
    orders_per_hour: float
    orders_per_bundle: float | None
    wall_s: float


def write_solution(day: Day, instance: Instance, folder: Path) -> None:
    """Write the three files into a folder, which is created. They omit undelivered orders."""
    folder.mkdir(parents=True, exist_ok=True)
    assignments, orders, moves = [_ASSIGNMENTS], [_ORDERS], [_COURIERS]
    for trip in day.trips:
        _, picked_up, dropped_off = _minutes(trip)
        order = instance.orders[trip.order.id]
        orders.append(
            f"{order.id} {order.placement_time} {order.ready_time} {picked_up} {dropped_off} "
            f"{trip.driver}"
        )
    half_pickup = instance.parameters.pickup_service // 2
    half_dropoff = instance.parameters.dropoff_service // 2
    for driver, trips in _by_driver(day.trips):
        origin = _START
        for bundle in _bundles(trips):
            assigned, picked_up, _ = _minutes(bundle[0])
            names = " ".join(trip.order.id for trip in bundle)
            assignments.append(f"{assigned} {picked_up} {driver} {names}")
            moves.append(f"{driver} {assigned} {origin} {bundle[0].order.mall}")
            origin, leaves = bundle[0].order.mall, picked_up + half_pickup
            for trip in bundle:
                moves.append(f"{driver} {leaves} {origin} {trip.order.id}")
                origin, leaves = trip.order.id, _minutes(trip)[2] + half_dropoff
    for name, lines in (("assignments", assignments), ("orders", orders), ("couriers", moves)):
        (folder / f"solution_info_{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def statistics_of(day: Day, instance: Instance) -> MdrpStatistics:
    """Return the statistics of the day."""
    parameters = instance.parameters
    ready = {order.id: order.ready_time for order in instance.orders.values()}
    placed = {order.id: order.placement_time for order in instance.orders.values()}
    times = [(trip.order.id, *_minutes(trip)) for trip in day.trips]
    ctd = [dropped - placed[order] for order, _, _, dropped in times]
    rtp = [picked - ready[order] for order, _, picked, _ in times]
    taken = {driver: len(trips) for driver, trips in _by_driver(day.trips)}
    pay = hours = 0.0
    for courier in instance.couriers.values():
        shift_hours = max(courier.off_time - courier.on_time, 0) / 60
        hours += shift_hours
        pay += max(
            parameters.pay_per_order * taken.get(courier.id, 0),
            parameters.guaranteed_pay_per_hour * shift_hours,
        )
    leave = parameters.dropoff_service // 2
    bundles = [bundle for _, trips in _by_driver(day.trips) for bundle in _bundles(trips)]
    at_work = sum(_minutes(bundle[-1])[2] + leave - _minutes(bundle[0])[0] for bundle in bundles)
    orders, delivered = len(instance.orders), len(day.trips)
    return MdrpStatistics(
        instance=instance.name,
        orders=orders,
        delivered=delivered,
        undelivered_percent=100 * (orders - delivered) / orders,
        ctd_mean=fmean(ctd) if ctd else None,
        ctd_max=max(ctd, default=None),
        rtp_mean=fmean(rtp) if rtp else None,
        rtp_max=max(rtp, default=None),
        over_target_percent=_over(ctd, parameters.target_click_to_door),
        over_maximum_percent=_over(ctd, parameters.maximum_click_to_door),
        cost_per_order=pay / delivered if delivered else None,
        utilisation_percent=100 * at_work / (60 * hours) if hours else 0.0,
        orders_per_hour=delivered / hours if hours else 0.0,
        orders_per_bundle=delivered / len(bundles) if bundles else None,
        wall_s=day.wall_s,
    )


def _over(minutes: Sequence[int], limit: int) -> float | None:
    return 100 * sum(value > limit for value in minutes) / len(minutes) if minutes else None


def _minutes(trip: Trip) -> tuple[int, int, int]:
    """Return when an order was assigned, picked up and dropped off.

    A round runs shortly after the minute of its orders, and all later times are whole minutes.
    """
    return (
        minute_of(trip.accepted_ms),
        minute_of(trip.picked_up_ms),
        minute_of(trip.dropped_off_ms),
    )


def _by_driver(trips: Sequence[Trip]) -> list[tuple[str, list[Trip]]]:
    ordered = sorted(trips, key=lambda trip: (trip.driver, trip.dropped_off_ms))
    return [(driver, list(own)) for driver, own in groupby(ordered, lambda trip: trip.driver)]


def _bundles(trips: Sequence[Trip]) -> list[list[Trip]]:
    """Return a driver's trips by visit to a restaurant, in drop-off order."""
    return [list(own) for _, own in groupby(trips, lambda trip: trip.run)]
