"""What a driver app keeps beyond one socket, and what it says when it is connected again."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable

from msgspec import UNSET, UnsetType

from clients.backoff import FullJitter
from clients.buffers import FixBuffer, LocalFix, Report, ReportQueue
from clients.connection import Connection
from clients.errors import LinkLost, NoAnswer, RequestRefused
from clients.link import Link
from clients.view import DriverView, Push
from protocol.codes import LOCATION_MS, StateWhy
from protocol.lifecycle import DriverState, Wish
from protocol.messages import (
    App,
    Drain,
    Error,
    Hello,
    Location,
    Offer,
    OfferAck,
    Reply,
    ServerMessage,
    StateChanged,
    Status,
    Vehicle,
    Welcome,
)

Event = Welcome | Push | Error | Drain
Listener = Callable[[Event], object]

_MAX_OFFERS = 8

_log = logging.getLogger(__name__)


class AppSession:
    """A driver's beliefs, buffers and wish; told and kept up to date over one socket after another.

    It is the `Session` of its `Connection`. Its three loops run beside the connection's.
    """

    def __init__(
        self,
        *,
        vehicle: Vehicle | None,
        app: App | None,
        auto_acknowledge: bool,
        location_every_ms: int | None,
        fix_limit: int,
        request_timeout_s: float,
        dice: random.Random,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self.view = DriverView()
        self.reports = ReportQueue()
        self.fixes = FixBuffer(fix_limit)
        self.wish: tuple[Wish, int | None] | None = None
        # A driver has one live offer at a time: older ones are over, whether or not anybody looked.
        self.offers: deque[Offer] = deque(maxlen=_MAX_OFFERS)
        self._last_offer: str | None = None
        self.listeners: list[Listener] = []
        self.turned = asyncio.Event()
        self._vehicle = vehicle
        self._app = app
        self._auto_acknowledge = auto_acknowledge
        self._location_every_ms = location_every_ms
        self._advised_every_ms = LOCATION_MS
        self._request_timeout_s = request_timeout_s
        self._jitter = FullJitter(dice)
        self._now_ms = now_ms
        self._sleep = sleep
        self._offset_ms: int | None = None
        self._fix_came = asyncio.Event()
        self._wish_untold = asyncio.Event()
        self._flushing = asyncio.Lock()

    @property
    def offset_ms(self) -> int:
        """The server's clock minus ours; 0 as long as it is not known."""
        return self._offset_ms or 0

    def on_server_ms(self, at_ms: int | None) -> int | UnsetType:
        """A time by our clock as the socket carries it: by the server's."""
        return UNSET if at_ms is None else at_ms + self.offset_ms

    def add_fix(self, fix: LocalFix) -> None:
        """Keep a fix until it is sent."""
        self.fixes.add(fix)
        self._fix_came.set()

    def hello(self, token: str) -> Hello:
        """The first message: who we are and what we hold. All fixes follow the welcome."""
        return Hello(
            token=token,
            now_ms=self._now_ms(),
            vehicle=self._vehicle or UNSET,
            holds=self.view.holds(),
            app=self._app or UNSET,
        )

    async def welcomed(self, welcome: Welcome, offset_ms: int, link: Link) -> None:
        """Believe the whole truth, then send the fixes that gathered: `status` builds on them."""
        self._offset_ms = offset_ms
        self._advised_every_ms = welcome.location_ms
        self.view.apply_welcome(welcome)
        self._emit(welcome)
        if welcome.offer is not None:
            await self._offered(welcome.offer, link)
        await self.flush(link)
        if welcome.state == DriverState.OFFLINE:
            self._wish_untold.set()

    async def received(self, message: ServerMessage, link: Link) -> None:
        """Believe a message, tell the listeners, acknowledge an offer."""
        if isinstance(message, Push):
            if not self.view.apply_push(message):
                return
            if isinstance(message, StateChanged) and message.why == StateWhy.BLOCK_OVER:
                self.wish = None
            self._emit(message)
            if isinstance(message, Offer):
                await self._offered(message, link)
        elif isinstance(message, Error | Drain):
            self._emit(message)

    async def flush(self, link: Link) -> None:
        """Send every fix that waits, oldest first. Raises `LinkLost`; what was not sent is kept."""
        async with self._flushing:
            self._fix_came.clear()
            while fixes := self.fixes.take():
                on_wire = tuple(fix.on_wire(self.offset_ms) for fix in fixes)
                try:
                    await link.send(Location(on_wire, now_ms=self._now_ms()))
                except LinkLost:
                    self.fixes.put_back(fixes)
                    raise

    async def send_fixes(self, connection: Connection) -> None:
        """For ever: send new fixes, in batches, as often as the server advises."""
        while True:
            await self._fix_came.wait()
            link = await connection.linked()
            try:
                await self.flush(link)
            except LinkLost:
                connection.lose(link)
                self._fix_came.set()
                continue
            every_ms = self._location_every_ms or self._advised_every_ms
            await self._sleep(every_ms / 1000)

    async def send_reports(self, connection: Connection) -> None:
        """For ever: bring the first report home, then the next; over any number of sockets."""
        while True:
            report = await self.reports.first()
            try:
                reply = await self._send_report(connection, report)
            except NoAnswer:
                continue
            except RequestRefused as refusal:
                if refusal.retry:
                    await self._sleep(self._jitter.next_s())
                    continue
                _log.info("%s of %s was refused: %s", report.step, report.job, refusal)
                self.reports.refused(refusal)
            else:
                self.reports.answered(reply)
            self._jitter.reset()

    async def _send_report(self, connection: Connection, report: Report) -> Reply:
        def believe(reply: Reply) -> None:
            self.view.apply_reported(report.job, reply)
            if reply.attempt is not UNSET:
                self.reports.renumber(report.job, report.attempt, reply.attempt)

        return await connection.request(
            lambda request_id: report.message(request_id, self.offset_ms),
            believe,
            timeout_s=self._request_timeout_s,
        )

    async def restate_wish(self, connection: Connection) -> None:
        """For ever: after an absence that cost us our place, say again what the driver wants."""
        while True:
            await self._wish_untold.wait()
            self._wish_untold.clear()
            if self.wish is None or self.wish[0] is Wish.OFFLINE or self._is_over(self.wish[1]):
                continue
            wish, until_ms = self.wish
            try:
                await self.tell_wish(connection, wish, until_ms)
            except NoAnswer:
                self._wish_untold.set()
            except RequestRefused as refusal:
                _log.info("the driver's wish was refused after reconnecting: %s", refusal)
                if refusal.retry:
                    await self._sleep(self._jitter.next_s())
                    self._wish_untold.set()

    async def tell_wish(self, connection: Connection, wish: Wish, until_ms: int | None) -> Reply:
        """Send ``status``, behind the fixes that wait. Raises as `Connection.request`."""
        return await connection.request(
            lambda request_id: Status(request_id, wish, self.on_server_ms(until_ms)),
            self.believe_state,
            timeout_s=self._request_timeout_s,
            before=self.flush,
        )

    def offer_is_live(self, offer: Offer) -> bool:
        """Whether an offer can still be answered, as far as we know."""
        live = self.view.offer
        in_time = self._now_ms() + self.offset_ms < offer.expires_ms
        return live is not None and live.offer == offer.offer and in_time

    def believe_state(self, reply: Reply) -> None:
        """Believe the state that a reply tells."""
        self.view.state = reply.state

    async def _offered(self, offer: Offer, link: Link) -> None:
        """Surface an offer, once, however often it is told; acknowledge it every time."""
        if offer.offer != self._last_offer:
            self._last_offer = offer.offer
            self.offers.append(offer)
            self.turned.set()
        if self._auto_acknowledge:
            await link.send(OfferAck(offer.offer))

    def _emit(self, event: Event) -> None:
        for listener in tuple(self.listeners):
            listener(event)

    def _is_over(self, until_ms: int | None) -> bool:
        return until_ms is not None and until_ms <= self._now_ms()
