"""The customer's page: where a parcel is, as HTML that needs no script.

The page shows what `GET /v1/track/{token}` returns and nothing else: state, times, the driver's
alias and vehicle, and the driver's position while the next stop is this customer's. A script
replaces the main part with that of a later response, so all texts are here.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, tzinfo
from html import escape
from typing import Final
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mallard_engine.gateway.pages.files import PageFile, page_files
from mallard_engine.gateway.pages.routes import security_headers
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.tracking import is_over, is_token, tracking_of
from mallard_protocol.lifecycle import TERMINAL, JobState
from mallard_protocol.resources import TrackedDriver, Tracking

_TEMPLATE: Final = "track.html"
_PLACE: Final = b"<!--content-->"
# Each step before it is done, and after: nothing may look delivered that is not.
_STEPS: Final = (
    ("Order", "Ordered"),
    ("Finding a driver", "Driver found"),
    ("Collection", "Collected"),
    ("Delivery", "Delivered"),
)
# How many steps are done, the heading and what to say below it. The step after those is the current
# one; None: the delivery left the usual way, and no steps are shown.
_WORDS: Final[Mapping[str, tuple[int | None, str, str]]] = {
    JobState.SCHEDULED: (
        1,
        "Not ready yet",
        "A driver will collect it as soon as it is ready.",
    ),
    JobState.QUEUED: (1, "Looking for a driver", "Your order is ready to be collected."),
    JobState.OFFERED: (1, "Looking for a driver", "Your order is ready to be collected."),
    JobState.ASSIGNED: (2, "A driver is on the way to the shop", ""),
    JobState.AT_MALL: (2, "The driver is at the shop", ""),
    JobState.PICKED_UP: (3, "On its way to you", ""),
    JobState.DELIVERED: (4, "Delivered", "Thank you."),
    JobState.RETURNING: (
        None,
        "Going back to the shop",
        "It could not be delivered. The shop will help you with the order.",
    ),
    JobState.RETURNED: (
        None,
        "Back at the shop",
        "It could not be delivered. Please contact the shop.",
    ),
    JobState.CANCELLED: (None, "Cancelled", "This delivery was cancelled."),
    JobState.EXPIRED: (None, "Not delivered", "No driver could deliver it in time."),
    JobState.FAILED: (None, "Not delivered", "It could not be collected at the shop."),
    JobState.LOST: (None, "Not delivered", "Please contact the shop where you ordered."),
}
_ENDED_LINK: Final = (
    "<h1>This link has expired</h1>"
    '<p class="track-note" data-ended>You can follow a delivery until one day after it ends.</p>'
)


class TrackingPage:
    """Handler of the customer's page."""

    def __init__(self, services: Services, files: Mapping[str, PageFile] | None = None) -> None:
        self._services = services
        self._files = page_files() if files is None else files

    def routes(self) -> list[Route]:
        """Return its route."""
        return [Route("/track/{token}", self.page, methods=["GET"])]

    async def page(self, request: Request) -> Response:
        """Return the page of a link. A browser's address may have any query."""
        store, token = self._services.store, request.path_params["token"]
        job = await store.jobs.tracked(token) if is_token(token) else None
        if job is None or is_over(job, store.now_ms()):
            return await self._answer(_ENDED_LINK, 404)
        zone = ZoneInfo(self._services.places.mall(job.mall).time_zone)
        tracking = await tracking_of(store, job)
        return await self._answer(content_of(tracking, zone, store.now_ms()), 200)

    async def _answer(self, content: str, status: int) -> Response:
        template = await asyncio.to_thread(lambda: self._files[_TEMPLATE].content)
        headers = {
            **security_headers("track"),
            "cache-control": "no-store",
            "x-robots-tag": "noindex",
        }
        body = template.replace(_PLACE, content.encode())
        return Response(body, status, headers, "text/html; charset=utf-8")


def content_of(tracking: Tracking, zone: tzinfo, now_ms: int) -> str:
    """Return the main part of the page, with times of day in a zone."""
    state = tracking.state
    done, heading, note = _WORDS.get(state, (None, state.replace("_", " ").capitalize(), ""))
    ended = " data-ended" if state in TERMINAL else ""
    parts = [f'<h1 aria-live="polite"{ended}>{escape(heading)}</h1>']
    if note:
        parts.append(f'<p class="track-note">{escape(note)}</p>')
    due = tracking.eta.dropoff
    if due is not None and not ended and done is not None:
        parts.append(
            '<div class="track-card"><p class="track-label">Expected at</p>'
            f'<p class="track-eta">{_time(due, zone)}</p>{_stops(tracking.stops_before)}</div>'
        )
    if done is not None:
        parts.append(f'<div class="track-card">{_steps(done)}</div>')
    if tracking.driver is not None:
        parts.append(f'<div class="track-card">{_driver(tracking.driver, zone)}</div>')
    if not ended:
        read = datetime.fromtimestamp(now_ms / 1000, zone)
        parts.append(f'<p class="track-note track-age">As of {_time(read, zone)}</p>')
    return "".join(parts)


def _steps(done: int) -> str:
    items = []
    for number, (ahead, past) in enumerate(_STEPS):
        mark, step = (' class="is-done"', past) if number < done else ("", ahead)
        if number == done:
            mark = ' aria-current="step"'
        items.append(f"<li{mark}>{step}</li>")
    return f'<ol class="track-steps">{"".join(items)}</ol>'


def _stops(stops_before: int | None) -> str:
    if not stops_before:
        return ""
    stops = "1 stop" if stops_before == 1 else f"{stops_before} stops"
    return f'<p class="track-note">{stops} before yours</p>'


def _driver(driver: TrackedDriver, zone: tzinfo) -> str:
    vehicle = f", {driver.vehicle}" if driver.vehicle else ""
    lines = [f"<div><dt>Driver</dt><dd>{escape(driver.alias + vehicle)}</dd></div>"]
    if driver.lat is not None and driver.lon is not None and driver.at is not None:
        place = f"{driver.lat:.5f},{driver.lon:.5f}"
        lines.append(
            f"<div><dt>Position at {_time(driver.at, zone)}</dt>"
            f'<dd><a href="geo:{place}?q={place}">Show on a map</a></dd></div>'
        )
    return f"<dl>{''.join(lines)}</dl>"


def _time(at: datetime, zone: tzinfo) -> str:
    """Return a time of day. A script writes it in the reader's own way."""
    exact = at.isoformat(timespec="seconds")
    return f'<time datetime="{exact}">{at.astimezone(zone):%H:%M}</time>'
