"""Drivers as operators see them, and their register."""

from typing import Annotated, Literal

from msgspec import UNSET, Struct, UnsetType

from mallard_protocol import messages
from mallard_protocol.fields import Alias, DriverStateName, Items, open_enum
from mallard_protocol.instants import Instant
from mallard_protocol.messages import Barred


class VehicleView(Struct, frozen=True):
    """What a driver's vehicle can carry at once."""

    kind: str
    max_jobs: int
    max_weight_g: int
    max_volume_l: float
    equipment: tuple[str, ...]


class DriverView(Struct, frozen=True):
    """One driver, as operators see it. Position and time are null before the first fix.

    ``barred``: why it gets no offers. ``suspended_for``: the reason that the operator gave; a
    suspension lasts until the driver is resumed. ``vehicle``, ``qualifications``: what counts now,
    from the register, its token and its hello. ``last_seen``: its last fix, hello or disconnection.
    """

    driver: str
    state: DriverStateName
    lat: float | None
    lon: float | None
    at_ms: int | None
    jobs: tuple[str, ...]
    barred: Barred | None = None
    suspended: bool = False
    suspended_for: str | None = None
    connected: bool = False
    vehicle: VehicleView | None = None
    qualifications: tuple[str, ...] = ()
    last_seen: Instant | None = None


class DriverPosition(Struct, frozen=True):
    """The last accepted fix. ``at``: by the clock of the app; ``received_at``: by the engine's."""

    lat: float
    lon: float
    acc_m: float
    at: Instant
    received_at: Instant


class RegisteredVehicle(messages.Vehicle, frozen=True, forbid_unknown_fields=True):
    """The limits of a registered vehicle, which a hello can only narrow. Without ``equipment`` it
    has none."""


DriverStatus = Literal["active", "suspended"]


class DriverProfile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A driver's entry in the register: the body of ``PUT /v1/markets/{m}/drivers/{id}``.

    It replaces the whole entry: what is missing counts as not registered and then comes from the
    driver's token and hello. ``status`` is what ``suspend`` and ``resume`` change; missing, it is
    ``active``. ``{}`` erases the entry.
    """

    alias: Alias | UnsetType = UNSET
    vehicle: RegisteredVehicle | UnsetType = UNSET
    qualifications: Items | UnsetType = UNSET
    status: DriverStatus = "active"


class DriverProfileView(Struct, frozen=True):
    """A driver's entry in the register, as it was put."""

    alias: str | UnsetType = UNSET
    vehicle: messages.Vehicle | UnsetType = UNSET
    qualifications: tuple[str, ...] | UnsetType = UNSET


class RegisteredDriver(DriverView, frozen=True):
    """One driver with its entry in the register; ``profile``: null without one.

    ``alias``: by which order services see it; null: by a random name for each service.
    """

    alias: str | None = None
    status: Annotated[str, open_enum(("active", "suspended"))] = "active"
    position: DriverPosition | None = None
    profile: DriverProfileView | None = None


class DriverList(Struct, frozen=True):
    """The body of ``GET /v1/markets/{m}/drivers``."""

    items: tuple[DriverView, ...]
