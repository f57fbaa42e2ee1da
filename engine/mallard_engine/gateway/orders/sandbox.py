"""Orders of the market `sandbox`: the ending that they name, and who may be offered them.

Robots have a qualification of their own, and vehicles that carry nothing. An order that
they are to carry needs that qualification and, for the matcher, weighs nothing: robots take every
order, and only they take it. Any other order weighs at least a gram, so that robots never take it.
What the order service asked for stays as it is in the order.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from msgspec import UNSET

from mallard_engine.contract.sandbox import KEY, ROBOT, Ending
from mallard_engine.core.model import Need
from mallard_engine.core.places.mall import Mall
from mallard_engine.gateway.orders.complete_order import CompleteOrder
from mallard_protocol.codes import ID_CHECK, SANDBOX_MARKET
from mallard_protocol.resources import FieldError

_POINTER: Final = f"/metadata/{KEY}"
_ENDINGS: Final = frozenset(Ending)


def sandbox_errors(order: CompleteOrder, mall: Mall | None) -> Iterator[FieldError]:
    """Yield what is wrong with the ending that an order names; nothing in other markets."""
    if mall is None or mall.market != SANDBOX_MARKET:
        return
    if order.metadata is UNSET or KEY not in order.metadata:
        return
    named = order.metadata[KEY]
    stores = order.pickup.stores
    if named not in _ENDINGS:
        yield FieldError(_POINTER, f"not one of {', '.join(Ending)}")
    elif named == Ending.SHORT and sum(store.parcels for store in stores) == 1:
        yield FieldError(_POINTER, "short needs an order of two parcels")
    elif named == Ending.WRONG_CODE and all(store.pickup_code is UNSET for store in stores):
        yield FieldError(_POINTER, "wrong_code needs a pickup_code at one of its stores")


def sandbox_need(need: Need, order: CompleteOrder, market: str) -> Need:
    """Return what a round must know of an order: in the sandbox, only robots or no robot fit."""
    if market != SANDBOX_MARKET:
        return need
    if order.metadata is not UNSET and order.metadata.get(KEY) == Ending.YOUR_DRIVER:
        return replace(need, weight_g=max(1, need.weight_g))
    checks = (ID_CHECK,) if ID_CHECK in need.requires else ()
    return replace(need, weight_g=0, volume_l=0, requires=(ROBOT, *checks))
