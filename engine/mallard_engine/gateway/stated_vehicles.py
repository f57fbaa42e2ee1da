"""Reads what a hello, a token or an operator states of a vehicle."""

from msgspec import UNSET, structs

from mallard_engine.core.vehicles import StatedVehicle
from mallard_protocol import messages


def stated_vehicle(vehicle: messages.Vehicle) -> StatedVehicle:
    """Return a vehicle with the fields that its source states."""
    fields = structs.asdict(vehicle)
    return StatedVehicle(**{name: value for name, value in fields.items() if value is not UNSET})
