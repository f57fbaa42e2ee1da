"""The steps from a driver's hello to its `welcome`."""

import contextlib
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import UNSET

from mallard_engine.core.model import Device, Job
from mallard_engine.core.vehicles import DriverClaims, StatedVehicle
from mallard_engine.gateway.positions import hello_fix
from mallard_engine.gateway.socket.payloads import in_run_order, offer_frame
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.session import Session
from mallard_engine.gateway.stated_vehicles import stated_vehicle
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import DriverFix, DriverSnapshot, Refused, StoreUnavailable
from mallard_protocol import messages
from mallard_protocol.codes import MAX_FRAME_BYTES, StateWhy
from mallard_protocol.lifecycle import ON_BOARD, JobState

# A driver can cause one line per hello.
_log = RateLimitedLog(structlog.get_logger(__name__))

_CLAIMS: Final = ON_BOARD | {JobState.DELIVERED}


def vehicle_of(hello: messages.Hello) -> StatedVehicle | None:
    """Return the vehicle that a hello states; None without one."""
    return None if hello.vehicle is UNSET else stated_vehicle(hello.vehicle)


def device_of(hello: messages.Hello) -> Device | None:
    """Return the push device of a hello; None without one."""
    device = hello.device
    return None if device is UNSET else Device(device.kind, device.token)


async def store_device(services: SocketServices, session: Session, hello: messages.Hello) -> None:
    """Store the device of a further hello on an open socket if it has changed."""
    device = device_of(hello)
    if device is not None and device != session.device:
        await services.store.drivers.set_device(
            session.market, session.driver, session.epoch, device
        )


async def store_claims(
    services: SocketServices, session: Session, claims: DriverClaims | None
) -> None:
    """Store what a fresh token states of the driver if it differs from the last one's."""
    if claims != session.claims:
        session.claims = claims
        await services.dispatcher.drivers.set_claims(
            session.market, session.driver, session.epoch, claims
        )


def fix_of(hello: messages.Hello, driver: str) -> DriverFix | None:
    """Return the position of a hello; None without one."""
    position = hello.position
    return None if position is UNSET else hello_fix(driver, position)


async def claim_custody(
    services: SocketServices, session: Session, holds: tuple[messages.Held, ...]
) -> None:
    """Report parcels on board or delivered to the store, which may not have recorded it.

    An app that was offline at the pickup reports it in its hello, before the job is assigned to
    another driver. The store raises an alert for a claim that it refuses, and the `welcome` shows
    the driver the current state.
    """
    for held in holds:
        if held.state not in _CLAIMS:
            continue
        try:
            await services.dispatcher.drivers.claim(
                session.market,
                session.driver,
                held.job,
                held.attempt,
                "delivered" if held.state == JobState.DELIVERED else "picked_up",
                at_ms=None if held.at_ms is UNSET else held.at_ms,
            )
        except Refused as refused:
            _log.warning(
                "custody claim refused",
                market=session.market,
                reason=refused.code.value,
                example={"driver": session.driver, "job": held.job},
            )


async def report_wrong_fields(
    services: SocketServices, session: Session, wrong: Sequence[str]
) -> None:
    """Tell the app which optional fields of its hello were invalid and ignored.

    Args:
        services: the parts of the node.
        session: the session of the driver.
        wrong: the names of the fields.
    """
    market, driver = session.market, session.driver
    example = {"driver": driver, "ignored_fields": list(wrong)}
    _log.info("invalid fields in hello", market=market, example=example)
    reasons = {
        StateWhy.FIXES_REJECTED if name == "position" else StateWhy.BAD_FIELD for name in wrong
    }
    with contextlib.suppress(StoreUnavailable):  # the app continues without the hint
        for why in sorted(reasons):
            await services.dispatcher.drivers.push_state(market, driver, why)


def welcome(
    services: SocketServices,
    snapshot: DriverSnapshot,
    *,
    market: str,
    session: str,
    expires_ms: int,
    say_hello: bool = False,
) -> messages.Welcome:
    """Return the `welcome` with the driver's state, offer and jobs."""
    driver, offer = snapshot.driver, snapshot.offer
    return messages.Welcome(
        session=session,
        driver=driver.id,
        market=market,
        seq=driver.seq,
        server_time_ms=snapshot.now_ms,
        ping_ms=services.timeouts.ping_ms,
        location_ms=services.timeouts.location_ms,
        max_bytes=MAX_FRAME_BYTES,
        token_expires_ms=expires_ms,
        state=driver.shown.value,
        barred=services.dispatcher.drivers.barred(market, driver, snapshot.now_ms),
        offer=offer_frame(offer, driver.seq, snapshot.now_ms, services.places.mall(offer.mall))
        if offer
        else None,
        jobs=tuple(_full(services, snapshot, job) for job in in_run_order(snapshot.jobs)),
        say_hello=True if say_hello else UNSET,
    )


def _full(services: SocketServices, snapshot: DriverSnapshot, job: Job) -> messages.SocketJob:
    transfer = snapshot.transfer_of(job)
    comes = transfer.driver if transfer else None
    return services.full(job, transfer, snapshot.aliases.get(comes) if comes else None)
