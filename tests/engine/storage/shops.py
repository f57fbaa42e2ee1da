"""What tests of the shops of an order share."""

from typing import Any

import pytest

from mallard_engine.ports import JobRef, Refused
from mallard_protocol.codes import ErrorCode
from tests.engine.storage.worlds import World

TWO = ("lego", "gap")


async def shops(world: World, ref: JobRef) -> dict[str, tuple[str, int]]:
    """The state of each known shop and how many parcels it has handed over."""
    return {shop.store: (shop.state.value, shop.collected) for shop in (await world.job(ref)).shops}


async def taken(world: World, *, stores: tuple[str, ...] = TWO, **order: Any) -> tuple[JobRef, int]:
    """A job that ann has accepted, with two parcels at each store."""
    await world.driver("ann")
    return await world.assigned(stores=stores, order=order)


async def refusal(call: Any) -> ErrorCode:
    with pytest.raises(Refused) as refused:
        await call
    return refused.value.code
