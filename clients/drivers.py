"""The driver app's side of the socket: `DriverClient`.

    async with DriverClient("wss://engine.example", token, vehicle=Vehicle(kind="car")) as app:
        app.location(33.42, -111.93, acc_m=8)
        await app.status(Wish.AVAILABLE)
        async for offer in app.offers():
            for job in await app.accept(offer):
                await app.progress(job.job, Step.AT_MALL)
                await app.progress(job.job, Step.PICKED_UP)
                await app.progress(job.job, Step.DELIVERED)

It stays connected by itself: it comes back as the close codes advise, says what it holds and sends
what gathered meanwhile. Times that you pass are by your own clock; the client adds the difference
to the server's, which it learns from ``welcome``. Times inside messages are the server's.
"""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from msgspec import UNSET

from clients.buffers import LocalFix, Report
from clients.connection import Connection
from clients.errors import Stopped
from clients.link import Believe, MakeRequest
from clients.session import AppSession, Event, Listener
from clients.tokens import TokenProvider, TokenSource
from clients.view import HeldJob
from protocol.codes import SUBPROTOCOL_MSGPACK
from protocol.lifecycle import Step, Wish
from protocol.messages import (
    Accept,
    App,
    Decline,
    Offer,
    OfferAck,
    Problem,
    ProblemKind,
    Proof,
    Reply,
    Vehicle,
)

__all__ = ["DriverClient", "Event", "HeldJob", "Listener"]


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class DriverClient:
    """One driver's app; an async context manager that connects on entry and leaves on exit.

    `url` is the engine's (``ws``, ``wss``, ``http``, ``https``; `ValueError` for another kind), or
    several that are tried in turn. `token` is the driver's, or a callable, plain or async, that
    gets another when the old one runs out.
    `subprotocol` chooses the encoding. With `auto_acknowledge` every offer is acknowledged as it
    comes in; without, call `acknowledge` once it is on the screen. `location_every_ms` replaces the
    server's advice on how often to send fixes; `fix_limit` of them are kept while offline.

    `dice`, `now_ms` and `sleep` are the sources of chance and time, to be replaced in tests.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        token: str | TokenProvider,
        *,
        vehicle: Vehicle | None = None,
        app: App | None = None,
        subprotocol: str = SUBPROTOCOL_MSGPACK,
        auto_acknowledge: bool = True,
        location_every_ms: int | None = None,
        fix_limit: int = 1_000,
        request_timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
        dice: random.Random | None = None,
        now_ms: Callable[[], int] = _wall_clock_ms,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        dice = dice or random.Random()
        self._now_ms = now_ms
        self._request_timeout_s = request_timeout_s
        self._session = AppSession(
            vehicle=vehicle,
            app=app,
            auto_acknowledge=auto_acknowledge,
            location_every_ms=location_every_ms,
            fix_limit=fix_limit,
            request_timeout_s=request_timeout_s,
            dice=dice,
            now_ms=now_ms,
            sleep=sleep,
        )
        self._connection = Connection(
            [url] if isinstance(url, str) else url,
            TokenSource(token),
            self._session,
            subprotocol=subprotocol,
            dice=dice,
            now_ms=now_ms,
            sleep=sleep,
            tls=tls,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connected(self) -> bool:
        """Whether a socket is open and welcomed."""
        return self._connection.connected

    @property
    def url(self) -> str:
        """The address of the open socket, or of the last one."""
        return self._connection.url

    @property
    def state(self) -> str:
        """The driver's state, as the engine last told it."""
        return self._session.view.state

    @property
    def jobs(self) -> Mapping[str, HeldJob]:
        """The jobs that the driver holds, by id."""
        return MappingProxyType(self._session.view.jobs)

    @property
    def unreported(self) -> int:
        """How many progress reports the engine has not answered yet."""
        return len(self._session.reports)

    @property
    def fixes_dropped(self) -> int:
        """How many fixes had to make room for newer ones."""
        return self._session.fixes.dropped

    def server_now_ms(self) -> int:
        """The server's clock, as far as we know it."""
        return self._now_ms() + self._session.offset_ms

    def start(self) -> None:
        """Connect, and stay connected until `stop`; what was kept before goes out."""
        if self._tasks:
            return
        connection, session = self._connection, self._session
        connection.reset()
        self._tasks = [
            asyncio.create_task(loop, name=f"driver-{name}")
            for name, loop in (
                ("connection", self._stay_connected()),
                ("fixes", session.send_fixes(connection)),
                ("reports", session.send_reports(connection)),
                ("wish", session.restate_wish(connection)),
            )
        ]

    async def stop(self) -> None:
        """Leave; fixes and reports are kept for a later `start`."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._connection.stop(Stopped("stopped by the app"))
        self._note_stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def online(self) -> None:
        """Wait until a socket is open and welcomed. Raises `Stopped`."""
        await self._connection.linked()

    def drop(self, away_s: float | None = None) -> None:
        """Cut the socket without a goodbye, as a phone in a lift does.

        The client comes back by itself: as after any lost link, or after `away_s` seconds.
        """
        self._connection.abort(away_s)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every event in order; return what ends that.

        Events are ``welcome``, ``offer``, ``offer_closed``, ``job``, ``state``, ``drain`` and the
        ``error`` that answers no request.
        """
        self._session.listeners.append(listener)
        return lambda: self._session.listeners.remove(listener)

    async def offers(self) -> AsyncIterator[Offer]:
        """Iterate over the offers that can still be answered. For one consumer.

        Ends when the client is stopped; raises `Stopped` when the engine says not to come back.
        """
        session = self._session
        while self._tasks or session.offers:
            while session.offers:
                offer = session.offers.popleft()
                if session.offer_is_live(offer):
                    yield offer
            if self._connection.stopped is not None and self._tasks:
                raise self._connection.stopped
            session.turned.clear()
            await session.turned.wait()

    def location(
        self,
        lat: float,
        lon: float,
        *,
        acc_m: float,
        heading_deg: float | None = None,
        speed_mps: float | None = None,
        at_ms: int | None = None,
    ) -> None:
        """Report a position; sent in batches, kept while offline. `at_ms` missing: now."""
        at_ms = self._now_ms() if at_ms is None else at_ms
        self._session.add_fix(LocalFix(at_ms, lat, lon, acc_m, heading_deg, speed_mps))

    async def status(self, wish: Wish, *, until_ms: int | None = None) -> Reply:
        """Say what the driver wants, and until when; sent behind all fixes so far.

        The wish is said again whenever an absence has made the engine forget it. Raises
        `RequestRefused`, `NoAnswer`, `Stopped`.
        """
        reply = await self._session.tell_wish(self._connection, wish, until_ms)
        self._session.wish = (wish, until_ms)
        return reply

    async def acknowledge(self, offer: Offer) -> None:
        """Say that an offer is on the screen. Raises `LinkLost`, `Stopped`."""
        link = await self._connection.linked()
        await link.send(OfferAck(offer.offer))

    async def accept(self, offer: Offer) -> tuple[HeldJob, ...]:
        """Take an offer; return its jobs in full.

        Repeated on the next socket when one ends. Raises `RequestRefused` (``offer_closed`` when it
        was too late), `NoAnswer`, `Stopped`.
        """
        given: list[HeldJob] = []
        await self._request(
            lambda request_id: Accept(request_id, offer.offer),
            lambda reply: given.extend(self._session.view.apply_accepted(offer.offer, reply)),
        )
        return tuple(given)

    async def decline(self, offer: Offer, reason: str | None = None) -> None:
        """Refuse an offer. Raises as `accept`."""
        await self._request(
            lambda request_id: Decline(
                request_id, offer.offer, UNSET if reason is None else reason
            ),
            lambda reply: self._session.view.apply_declined(offer.offer, reply),
        )

    def progress(
        self,
        job: str,
        step: Step,
        *,
        attempt: int | None = None,
        at_ms: int | None = None,
        proof: Proof | None = None,
        reason: str | None = None,
    ) -> asyncio.Future[Reply]:
        """Report a step; queued in order and repeated until the engine has answered.

        The future may be awaited or left alone; it raises `RequestRefused`, or `Stopped`, when the
        report is kept for a later `start`. `attempt` missing: that of the job as held
        (`LookupError` when it never was). `at_ms` missing: now.
        """
        view = self._session.view
        held = view.jobs.get(job) or view.former.get(job)
        if attempt is None and held is None:
            raise LookupError(f"job {job} was never held here; name its attempt")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        # A refusal that nobody waits for is in the log already.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        number = attempt if attempt is not None else held.attempt if held else 0
        at_ms = self._now_ms() if at_ms is None else at_ms
        self._session.reports.add(Report(job, number, step, at_ms, proof, reason, answer))
        return answer

    async def problem(
        self,
        kind: ProblemKind,
        *,
        job: str | None = None,
        store: str | None = None,
        until_ms: int | None = None,
        text: str | None = None,
    ) -> Reply:
        """Report that something is wrong. Raises `RequestRefused`, `NoAnswer`, `Stopped`."""
        return await self._request(
            lambda request_id: Problem(
                request_id,
                kind,
                job or UNSET,
                store or UNSET,
                self._session.on_server_ms(until_ms),
                text or UNSET,
            ),
            self._session.believe_state,
        )

    async def _request(self, make: MakeRequest, believe: Believe) -> Reply:
        return await self._connection.request(make, believe, timeout_s=self._request_timeout_s)

    async def _stay_connected(self) -> None:
        await self._connection.run()
        self._note_stop()

    def _note_stop(self) -> None:
        """Let nobody wait any more: neither for offers nor for the answers to reports."""
        self._session.turned.set()
        if self._connection.stopped is not None:
            self._session.reports.wait_no_more(self._connection.stopped)
