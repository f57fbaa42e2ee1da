"""The way of a job, as its customer sees it: the token of the link, and what it shows."""

import asyncio
import re
import secrets
from typing import Final

from mallard_engine.core.model import Job, Position
from mallard_engine.core.tracking import stops_before
from mallard_engine.gateway.http.driver_names import random_name
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.ports import NoSuchDriver, Storage
from mallard_protocol.codes import TRACKED_AFTER_END_MS
from mallard_protocol.resources import Eta, TrackedDriver, Tracking

_BYTES: Final = 18
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{24}")


def new_token() -> str:
    """Return a token that cannot be guessed and says nothing of the job."""
    return secrets.token_urlsafe(_BYTES)


def is_token(text: str) -> bool:
    """Whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def is_over(job: Job, now_ms: int) -> bool:
    """Whether the customer's link no longer shows the job."""
    ended_ms = job.ended_ms
    is_ended = ended_ms is not None and now_ms >= ended_ms + TRACKED_AFTER_END_MS
    return not job.tracking or is_ended


async def tracking_of(store: Storage, job: Job) -> Tracking:
    """Return where a job is."""
    eta = Eta(_moment(job.eta_pickup_ms), _moment(job.eta_dropoff_ms))
    if not job.held or job.driver is None:
        return Tracking(job.state, eta, None, None)
    try:
        snapshot, aliases = await asyncio.gather(
            store.drivers.snapshot(job.market, job.driver),
            store.register.aliases(job.market, job.service, {job.driver: random_name()}),
        )
    except NoSuchDriver:
        return Tracking(job.state, eta, None, None)
    if all(each.id != job.id for each in snapshot.jobs):
        return Tracking(job.state, eta, None, None)  # the driver was removed a moment ago
    before = stops_before(job, snapshot.jobs)
    driver = snapshot.driver
    shown, heading_deg = driver.position if before == 0 else None, None
    if shown is not None:
        heading_deg = await store.event_log.heading(job.market, job.driver)
    view = _driver(aliases[job.driver], driver.vehicle.kind, shown, heading_deg)
    return Tracking(job.state, eta, view, before)


def _driver(
    alias: str, vehicle: str, at: Position | None, heading_deg: float | None
) -> TrackedDriver:
    if at is None:
        return TrackedDriver(alias, vehicle, None, None, None, None)
    return TrackedDriver(alias, vehicle, at.lat, at.lon, heading_deg, Moment.at_ms(at.at_ms))


def _moment(epoch_ms: int | None) -> Moment | None:
    return None if epoch_ms is None else Moment.at_ms(epoch_ms)
