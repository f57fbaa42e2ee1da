"""Records of drivers: state, profile, positions."""

import msgspec

from mallard_engine.core.model import Driver, Position
from mallard_engine.core.vehicles import DriverProfile

_driver = msgspec.msgpack.Decoder(Driver).decode
_profile = msgspec.msgpack.Decoder(DriverProfile).decode
# {received, at, lat, lon, acc, …}: see lib/positions.lua for the rest.
_position = msgspec.msgpack.Decoder(list[float]).decode


def read_driver(packed: bytes, position: Position | None = None) -> Driver:
    """Read a driver's record."""
    driver = _driver(packed)
    if position is not None:
        # Nothing else refers to it yet, and a copy would cost four times as much as reading it.
        object.__setattr__(driver, "position", position)
    return driver


def read_profile(packed: bytes) -> DriverProfile:
    """Read a driver's entry in the register."""
    return _profile(packed)


def read_stored_position(packed: bytes) -> list[float]:
    """Read the stored fixes of a driver; lib/positions.lua defines their order."""
    return _position(packed)


def read_position(packed: bytes | None) -> Position | None:
    """Read the last accepted fix; None if there is none."""
    if packed is None:
        return None
    received_ms, at_ms, lat, lon, acc_m, *_ = _position(packed)
    return Position(lat, lon, acc_m, int(at_ms), int(received_ms)) if received_ms else None
