"""The orders of a bad day: their bodies, and the storm."""

import json
from dataclasses import replace

from mallard_engine.simulation.scenario import MINUTE_MS, SimulatedOrder
from mallard_engine.workload.bad_day.events import BadDay, BadEvent

PICKUP_CODE = "4711"
# A missing parcel is waited for by one order in two, for this long.
HOLD_S = 7_200
_STORM_MS = 10 * MINUTE_MS
_STORM_BEST_BY_MS = 120 * MINUTE_MS


def with_events(orders: list[SimulatedOrder], bad_day: BadDay) -> list[SimulatedOrder]:
    """Return the orders with two parcels where one is short, and with those of the storm.

    The storm lies between the first and the last order. Its orders are wanted two hours later at
    the earliest, as others are.
    """
    placed = sorted(order.placed_ms for order in orders)
    storm_ms = placed[int(len(placed) * bad_day.between(0.2, 0.8, "storm"))] if placed else 0
    return [_with_event(order, bad_day, storm_ms) for order in orders]


def _with_event(order: SimulatedOrder, bad_day: BadDay, storm_ms: int) -> SimulatedOrder:
    if bad_day.of_order(order.id) is BadEvent.SHORT:
        order = replace(order, parcels=2)
    if not bad_day.in_storm(order.id):
        return order
    placed_ms = storm_ms + round(_STORM_MS * bad_day.chance("storm at", order.id))
    return replace(
        order,
        placed_ms=placed_ms,
        ready_ms=placed_ms + order.ready_ms - order.placed_ms,
        best_by_ms=max(order.best_by_ms, placed_ms + _STORM_BEST_BY_MS),
    )


def body_of(order: SimulatedOrder, bad_day: BadDay) -> bytes:
    """Return the fields of an order's body that the engine's rules for shops and doors read."""
    event = bad_day.of_order(order.id)
    code = {"pickup_code": PICKUP_CODE} if event is BadEvent.WRONG_CODE else {}
    stores = [{"store": store, "parcels": order.parcels, **code} for store in order.stores]
    fails = event is BadEvent.MISSING and bad_day.chance("fails", order.id) < 0.5
    body: dict[str, object] = {
        "pickup": {"mall": order.mall, "stores": stores},
        "on_missing": "fail" if fails else "hold",
        "hold_s": HOLD_S,
    }
    return json.dumps(body).encode()
