"""What a driver can carry and is qualified for: three sources, and each kind's usual room.

The sources are the operators' register, the claims of the driver's token, and its hello. The first
of register and token that states a vehicle sets its limits; a hello can only narrow them. The
script library `storage/lua/lib/vehicles.lua` combines the sources, so that a hello and a change of
the register take effect in one step.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from mallard_engine.core.model import Driver, Vehicle


class Room(NamedTuple):
    """What a vehicle can carry at once."""

    max_jobs: int
    max_weight_g: int
    max_volume_l: float


USUAL_KIND: Final = "car"
"""The kind of a vehicle that states none."""

USUAL_ROOM: Final[Mapping[str, Room]] = MappingProxyType(
    {
        "car": Room(12, 200_000, 500.0),
        "van": Room(40, 800_000, 4_000.0),
        "bike": Room(3, 20_000, 80.0),
        "foot": Room(2, 10_000, 40.0),
    }
)
"""The room of a kind of vehicle where no limit is stated."""

OTHER_ROOM: Final = USUAL_ROOM["foot"]
"""The room of any other kind: no more than a person on foot, until a source states more."""


def usual_vehicle(kind: str = USUAL_KIND) -> Vehicle:
    """Return a vehicle of this kind with its usual room and no equipment."""
    return Vehicle(kind, *USUAL_ROOM.get(kind, OTHER_ROOM))


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedVehicle:
    """What one source states of a vehicle. None: it does not say."""

    kind: str | None = None
    max_jobs: int | None = None
    max_weight_g: int | None = None
    max_volume_l: float | None = None
    equipment: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverClaims:
    """What a driver's token states of it. None: it does not say.

    `equipment` limits the equipment of a vehicle that only the hello states.
    """

    alias: str | None = None
    vehicle: StatedVehicle | None = None
    equipment: tuple[str, ...] | None = None
    qualifications: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverProfile:
    """A driver's entry in the operators' register. None: it does not say."""

    alias: str | None = None
    vehicle: StatedVehicle | None = None
    qualifications: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RegisteredDriver:
    """One driver with what the register and its token say.

    `profile`: None if it is not registered. `alias`: that of the register, else of the token.
    """

    driver: Driver
    profile: DriverProfile | None = None
    alias: str | None = None


def stated(source: object) -> dict[str, Any]:
    """Return the fields that a source states, for storage; it may be a whole `Vehicle`."""
    return _without_none(asdict(source))  # type: ignore[call-overload]


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }
