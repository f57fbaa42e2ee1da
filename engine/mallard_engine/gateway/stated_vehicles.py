"""Reads what a hello, a token or an operator states of a vehicle."""

from msgspec import UNSET, structs

from mallard_engine.core.vehicles import StatedVehicle
from mallard_protocol import messages


def stated_vehicle(vehicle: messages.Vehicle) -> StatedVehicle | None:
    """Return a vehicle with the fields that its source states; None if it states none.

    Lua would store an empty map as an empty list, which cannot be read.
    """
    fields = structs.asdict(vehicle)
    stated = {name: value for name, value in fields.items() if value is not UNSET}
    return StatedVehicle(**stated) if stated else None
