"""Drivers, as operators see them."""

from typing import Any

from mallard_engine.core import model
from mallard_engine.core.vehicles import DriverProfile, RegisteredDriver, stated
from mallard_engine.gateway.timestamps import Moment
from mallard_protocol import messages, resources
from mallard_protocol.messages import Barred


def driver_view(driver: model.Driver, barred: Barred | None) -> resources.DriverView:
    """Return a driver as operators see it.

    Args:
        driver: the driver.
        barred: why it gets no offers; None if it may get them.
    """
    return resources.DriverView(**_driver_fields(driver, barred))


def registered_view(known: RegisteredDriver, barred: Barred | None) -> resources.RegisteredDriver:
    """Return one driver with its entry in the register."""
    driver = known.driver
    return resources.RegisteredDriver(
        **_driver_fields(driver, barred),
        alias=known.alias,
        status="suspended" if driver.suspended else "active",
        position=_position_view(driver.position) if driver.position else None,
        profile=_profile_view(known.profile) if known.profile else None,
    )


def _driver_fields(driver: model.Driver, barred: Barred | None) -> dict[str, Any]:
    at = driver.position
    seen_ms = max(driver.hello_ms, driver.lost_ms, at.received_ms if at else 0)
    return {
        "driver": driver.id,
        "state": driver.shown,
        "lat": at.lat if at else None,
        "lon": at.lon if at else None,
        "at_ms": at.at_ms if at else None,
        "jobs": tuple(held.job for held in driver.jobs),
        "suspended": driver.suspended,
        "suspended_for": driver.suspended_for or None,
        "barred": barred,
        "connected": driver.connected,
        "vehicle": _vehicle_view(driver),
        "qualifications": driver.qualifications,
        "last_seen": Moment.at_ms(seen_ms) if seen_ms else None,
    }


def _vehicle_view(driver: model.Driver) -> resources.VehicleView:
    vehicle = driver.vehicle
    return resources.VehicleView(
        vehicle.kind,
        vehicle.max_jobs,
        vehicle.max_weight_g,
        vehicle.max_volume_l,
        tuple(item for item in vehicle.equipment if item not in driver.qualifications),
    )


def _position_view(at: model.Position) -> resources.DriverPosition:
    return resources.DriverPosition(
        at.lat, at.lon, at.acc_m, Moment.at_ms(at.at_ms), Moment.at_ms(at.received_ms)
    )


def _profile_view(profile: DriverProfile) -> resources.DriverProfileView:
    fields = stated(profile)
    if vehicle := fields.get("vehicle"):
        fields["vehicle"] = messages.Vehicle(**vehicle)
    return resources.DriverProfileView(**fields)
