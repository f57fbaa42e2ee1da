"""From a driver's hello to its welcome."""

import contextlib
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import UNSET

from mallard_engine.core.model import Device, Vehicle
from mallard_engine.gateway.positions import hello_fix
from mallard_engine.gateway.socket.admission import Admitted
from mallard_engine.gateway.socket.payloads import in_run_order, offer_frame
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.session import Session
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import DriverFix, DriverSnapshot, Refused, StoreUnavailable
from mallard_protocol import messages
from mallard_protocol.codes import MAX_FRAME_BYTES, StateWhy
from mallard_protocol.lifecycle import ON_BOARD, JobState

# A driver can cause a line with each hello.
_log = RateLimitedLog(structlog.get_logger(__name__))

_CLAIMS: Final = ON_BOARD | {JobState.DELIVERED}


def vehicle_of(hello: messages.Hello, admitted: Admitted) -> Vehicle | None:
    """The vehicle that a driver says hello with, its equipment capped by the token's.

    None when it tells none.
    """
    told = hello.vehicle
    if told is UNSET:
        return None
    equipment = told.equipment
    if admitted.equipment is not None:
        equipment = tuple(item for item in equipment if item in admitted.equipment)
    return Vehicle(told.kind, told.max_jobs, told.max_weight_g, told.max_volume_l, equipment)


def device_of(hello: messages.Hello) -> Device | None:
    """Where the app that says hello can be woken; None when it tells nothing."""
    told = hello.device
    return None if told is UNSET else Device(told.kind, told.token)


async def store_device(services: SocketServices, session: Session, hello: messages.Hello) -> None:
    """Keep the device of a further hello on an open socket: its token may be a new one."""
    device = device_of(hello)
    if device is not None and device != session.device:
        await services.store.drivers.set_device(
            session.market, session.driver, session.epoch, device
        )


def fix_of(hello: messages.Hello, driver: str) -> DriverFix | None:
    """The position that a driver says hello with; None when it tells none."""
    told = hello.position
    return None if told is UNSET else hello_fix(driver, told)


async def claim_custody(
    services: SocketServices, session: Session, holds: tuple[messages.Held, ...]
) -> None:
    """Tell the store of parcels on board, or handed over, that it does not know to be so.

    A phone that was offline at the pick-up says so first of all in its hello: before another driver
    is sent for the parcel. What cannot be believed raises an alert; `welcome` tells the truth.
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
                "custody claimed in vain",
                market=session.market,
                reason=refused.code.value,
                example={"driver": session.driver, "job": held.job},
            )


async def report_wrong_fields(
    services: SocketServices, session: Session, wrong: Sequence[str]
) -> None:
    """Tell the app that optional fields of its hello were left out. ``wrong``: their names."""
    market, driver = session.market, session.driver
    example = {"driver": driver, "fields_left_out": list(wrong)}
    _log.info("wrong fields in hello", market=market, example=example)
    reasons = {
        StateWhy.FIXES_REJECTED if name == "position" else StateWhy.BAD_FIELD for name in wrong
    }
    with contextlib.suppress(StoreUnavailable):  # the app goes on without the hint
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
    """Return the frame that tells a driver the whole truth."""
    driver, offer, malls = snapshot.driver, snapshot.offer, services.places.malls
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
        offer=offer_frame(offer, driver.seq, snapshot.now_ms, malls[offer.mall]) if offer else None,
        jobs=tuple(map(services.full, in_run_order(snapshot.jobs))),
        say_hello=True if say_hello else UNSET,
    )
