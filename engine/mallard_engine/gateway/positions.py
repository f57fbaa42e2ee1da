"""Converts positions from the contract's form to the engine's."""

from operator import attrgetter

from msgspec import UNSET

from mallard_engine.ports import DriverFix
from mallard_protocol.messages import Fix, HelloPosition

by_time = attrgetter("at_ms")
"""Sort key of fixes: apps send a batch in any order, and Redis checks the oldest first."""


def driver_fix(driver: str, fix: Fix | None) -> DriverFix:
    """Return a fix for the store.

    Args:
        driver: the driver's id.
        fix: the fix; None if it was malformed, which Redis counts as rejected. A missing
            accuracy counts as exact.
    """
    if fix is None:
        return DriverFix(driver, 0, 0.0, 0.0, fault="malformed")
    at_ms, lat, lon, acc_m, heading_deg, speed_mps = fix
    return DriverFix(driver, at_ms, lat, lon, acc_m or 0.0, heading_deg, speed_mps)


def hello_fix(driver: str, position: HelloPosition) -> DriverFix:
    """Return the position of a hello. Without a time it counts as current (`at_ms` 0)."""
    at_ms = 0 if position.at_ms is UNSET else max(1, position.at_ms)
    acc_m = 0.0 if position.acc_m is UNSET else position.acc_m
    return DriverFix(driver, at_ms, position.lat, position.lon, acc_m)
