"""What a driver's socket reads and stores: from its hello to its `welcome`, and at a new token."""

import contextlib
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import UNSET

from mallard_engine.core.model import Device, Driver, Job
from mallard_engine.core.vehicles import DriverClaims, StatedVehicle
from mallard_engine.gateway.positions import hello_fix
from mallard_engine.gateway.socket.admission import AdmissionDenied, Admitted
from mallard_engine.gateway.socket.payloads import (
    arrivals_ms,
    in_run_order,
    offer_frame,
    push_frame,
)
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.session import Session
from mallard_engine.gateway.stated_vehicles import stated_vehicle
from mallard_engine.gateway.transfers import alias_of_coming, open_transfer
from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import (
    DriverFix,
    DriverSnapshot,
    Hello,
    NoSuchDriver,
    Push,
    Refused,
    StoreUnavailable,
)
from mallard_protocol import messages
from mallard_protocol.codes import MAX_FRAME_BYTES, Close, StateWhy
from mallard_protocol.lifecycle import ON_BOARD, JobState

# A driver can cause one line per hello.
_log = RateLimitedLog(structlog.get_logger(__name__))

_CLAIMS: Final = ON_BOARD | {JobState.DELIVERED}


def admit_hello(
    services: SocketServices, admitted: Admitted | None, hello: messages.Hello
) -> Admitted:
    """Return the driver of a hello, admitted by the handshake or by the token that it brings.

    Raises:
        AdmissionDenied: the driver may not connect now; with the code that says why.
    """
    if services.draining:
        raise AdmissionDenied(Close.DRAINING)
    if admitted is None:
        if hello.token is UNSET:
            raise AdmissionDenied(Close.BAD_TOKEN)
        admitted = services.admission.admit(hello.token)
    elif services.admission.is_revoked(admitted):
        raise AdmissionDenied(Close.BAD_TOKEN)
    if not services.limiter.may_connect(admitted.market, admitted.driver):
        raise AdmissionDenied(Close.RATE)
    return admitted


def readmit(services: SocketServices, session: Session, auth: messages.Auth) -> Admitted:
    """Return what a further token states of the driver of an open socket.

    Raises:
        AdmissionDenied: the token is not valid, or it belongs to another driver (`WRONG_SCOPE`).
    """
    admitted = services.admission.admit(auth.token)
    if (admitted.market, admitted.driver) != (session.market, session.driver):
        raise AdmissionDenied(Close.WRONG_SCOPE)
    return admitted


async def register(services: SocketServices, session: Session, hello: messages.Hello) -> Hello:
    """Register the socket with the store.

    Raises:
        StoreFull: Redis takes no new work, and the driver has none.
        StoreUnavailable: the storage cannot be reached.
    """
    market, driver = session.market, session.driver
    await services.relay.follow(market)
    await services.positions.flush(market, driver)
    return await services.dispatcher.drivers.hello(
        market,
        driver,
        vehicle=session.vehicle,
        fix=fix_of(hello, driver),
        device=device_of(hello),
        claims=session.claims,
    )


async def take_further_hello(
    services: SocketServices, session: Session, hello: messages.Hello
) -> DriverSnapshot:
    """Store what a further hello on an open socket states; return the state after it.

    Raises:
        NoSuchDriver: Redis has lost the driver.
        StoreUnavailable: the storage cannot be reached.
    """
    if fix := fix_of(hello, session.driver):
        at_ms = fix.at_ms or services.store.now_ms()
        services.positions.add(session.market, session.driver, [fix._replace(at_ms=at_ms)])
    await store_device(services, session, hello)
    await claim_custody(services, session, hello.holds)
    return await services.store.drivers.snapshot(session.market, session.driver)


async def snapshot_of(
    services: SocketServices, session: Session, driver: Driver, *, suffices: bool
) -> DriverSnapshot:
    """Return the state for a `welcome`, from the record that Redis has just returned.

    The record is enough for a driver without job and offer: that saves round trips for most of
    those who connect.

    Args:
        services: the parts of the node.
        session: the session of the driver.
        driver: the record.
        suffices: whether nothing can have changed since it was read.

    Raises:
        NoSuchDriver: Redis has lost the driver since.
        StoreUnavailable: the storage cannot be reached.
    """
    if driver.jobs or driver.offer or not suffices:
        return await services.store.drivers.snapshot(session.market, session.driver)
    return DriverSnapshot(services.store.now_ms(), driver, None, ())


def vehicle_of(hello: messages.Hello) -> StatedVehicle | None:
    """Return the vehicle that a hello states; None without one."""
    if hello.vehicle is UNSET:
        return None
    return stated_vehicle(hello.vehicle) or StatedVehicle()


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
    """Record parcels that are on board or delivered, of which Redis may not know.

    An app that was offline at the pickup reports it in its hello, before the job is assigned to
    another driver. Redis raises an alert for a claim that it refuses, and the `welcome` shows
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


async def renewed(
    services: SocketServices, session: Session, auth: messages.Auth, admitted: Admitted
) -> messages.Reply:
    """Store what a further token states of the driver; return the reply to it."""
    try:
        await store_claims(services, session, admitted.claims)
        snapshot = await services.store.drivers.snapshot(session.market, session.driver)
    except (StoreUnavailable, NoSuchDriver):
        # The token is accepted in any case; the reply shows the session's state.
        return messages.Reply(auth.id, session.shown.value)
    driver = snapshot.driver
    barred = services.dispatcher.drivers.barred(session.market, driver, snapshot.now_ms)
    return messages.Reply(auth.id, driver.shown.value, barred=barred)


def pushed(services: SocketServices, push: Push) -> messages.ServerMessage:
    """Return the frame of a push, and measure how long the jobs of an offer waited for it."""
    now_ms = services.store.now_ms()
    offer = push.offer
    if offer is None:
        return push_frame(push, now_ms=now_ms, mall=None)
    for arrived_ms in arrivals_ms(offer):
        services.metrics.offer_sent(max(0, now_ms - arrived_ms) / 1000)
    return push_frame(push, now_ms=now_ms, mall=services.places.mall(offer.mall))


async def pushed_job(services: SocketServices, push: Push) -> messages.SocketJob:
    """Return the job of a push that is new to the driver, with all that its holder must know.

    Raises:
        NoSuchJob: there is no such job.
        StoreUnavailable: the storage cannot be reached.
    """
    job = await services.store.jobs.get(push.job)
    transfer = await open_transfer(services.store, job)
    alias = await alias_of_coming(services.store, transfer)
    services.dispatcher.drivers.holds_unknown_job(job.market, push.driver)
    return services.full(job, transfer, alias)
