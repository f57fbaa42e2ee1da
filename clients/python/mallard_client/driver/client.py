"""The client of a driver app: `DriverClient`.

    async with DriverClient("wss://engine.example", token, vehicle=Vehicle(kind="car")) as app:
        app.location(33.42, -111.93, acc_m=8)
        await app.status("available")
        async for offer in app.offers():
            await app.accept(offer)  # its jobs are in `app.jobs` from now on

A task of its own carries out `app.jobs` with `app.progress`: on the way to the mall the engine may
offer more jobs from there.

The client stays connected: it reconnects as the close codes advise, reports the held jobs and sends
the buffered fixes and reports. Times that you pass are by the device's clock; the client converts
them to the server's, even if the device's clock is set meanwhile. Times inside messages are the
server's: `seconds_left` says how long an offer can still be answered.
"""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Self

from msgspec import UNSET

from mallard_client.backoff import Backoff
from mallard_client.driver.clock import Clock, uptime_ms, wall_clock_ms
from mallard_client.driver.connection import Connection, Transport
from mallard_client.driver.events import Announcer, Event, EventStream, Listener
from mallard_client.driver.lifetime import Lifetime
from mallard_client.driver.proof_upload import ProofUpload
from mallard_client.driver.reporting.fixes import clean_fix
from mallard_client.driver.reporting.reports import Report, given
from mallard_client.driver.session import AppOptions, AppSession
from mallard_client.driver.socket import Liveness
from mallard_client.driver.state import HeldJob
from mallard_client.driver.state_keeper import Intent, Keeping
from mallard_client.driver.storage import Storage
from mallard_client.errors import Stopped
from mallard_client.tokens import TokenProvider, TokenSource
from mallard_protocol.codes import SUBPROTOCOL_MSGPACK
from mallard_protocol.lifecycle import Step, Wish
from mallard_protocol.messages import (
    Accept,
    App,
    Barred,
    Decline,
    Device,
    Offer,
    OfferAck,
    Problem,
    ProblemKind,
    Proof,
    Reply,
    Vehicle,
)

__all__ = ["DriverClient", "StepName", "WishName"]

StepName = Literal[
    "at_mall",
    "picked_up",
    "at_door",
    "delivered",
    "returning",
    "resume",
    "returned",
    "give_up",
]
WishName = Literal["available", "paused", "offline"]


class DriverClient:
    """One driver's app; an async context manager that connects on entry and leaves on exit.

    `url` is the engine's (``ws``, ``wss``, ``http``, ``https``; `ValueError` for another kind), or
    several that are tried in turn. `token` is the driver's, or a callable, plain or async, that
    returns another when the old one expires. `device` is where the operator's push service can wake
    the app.
    `subprotocol` chooses the encoding. With `auto_acknowledge` every offer is acknowledged as it
    comes in; without, call `acknowledge` once it is on the screen. `location_every_ms` replaces the
    server's advice on how often to send fixes; `fix_limit` of them are kept while offline.
    `storage` keeps what must outlive the app: the status that the driver wants and the reports that
    the engine has not answered. `backoff` sets the waits between connections, `liveness` when a
    connection is checked.

    `rng`, `now_ms`, `uptime` and `sleep` are the sources of randomness and time; tests replace
    them.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        token: str | TokenProvider,
        *,
        vehicle: Vehicle | None = None,
        app: App | None = None,
        device: Device | None = None,
        subprotocol: str = SUBPROTOCOL_MSGPACK,
        auto_acknowledge: bool = True,
        location_every_ms: int | None = None,
        fix_limit: int = 1_000,
        request_timeout_s: float = 10.0,
        storage: Storage | None = None,
        backoff: Backoff | None = None,
        liveness: Liveness | None = None,
        tls: ssl.SSLContext | None = None,
        rng: random.Random | None = None,
        now_ms: Callable[[], int] = wall_clock_ms,
        uptime: Callable[[], int] = uptime_ms,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        rng = rng or random.Random()
        clock = Clock(now_ms, uptime)
        self._announcer = Announcer()
        self._session = AppSession(
            AppOptions(
                vehicle=vehicle,
                app=app,
                device=device,
                auto_acknowledge=auto_acknowledge,
                location_every_ms=location_every_ms,
                fix_limit=fix_limit,
            ),
            self._announcer,
            Keeping(storage, clock),
            clock=clock,
            rng=rng,
            sleep=sleep,
        )
        self._urls = [url] if isinstance(url, str) else url
        self._tokens = TokenSource(token, clock, sleep)
        self._tls = tls
        self._connection = Connection(
            self._urls,
            self._tokens,
            self._session,
            Transport(
                subprotocol, tls, backoff or Backoff(), liveness or Liveness(), request_timeout_s
            ),
            clock=clock,
            rng=rng,
            sleep=sleep,
        )
        self._lifetime = Lifetime(self._connection, self._session, self._announcer)

    @property
    def connected(self) -> bool:
        """Whether a socket is open and welcomed."""
        return self._connection.connected

    @property
    def reconnecting_in(self) -> float | None:
        """Seconds until the next try to connect; None while connected, connecting or stopped."""
        return self._connection.reconnecting_in

    @property
    def url(self) -> str:
        """The address of the open socket, or of the last one."""
        return self._connection.url

    @property
    def state(self) -> str:
        """The driver's state in the engine's last message."""
        return self._session.view.state

    @property
    def barred(self) -> Barred | None:
        """Why the driver gets no offers although it wants them; None otherwise."""
        barred = self._session.view.barred
        if barred is None or barred.until_ms is None:
            return barred
        return barred if self.server_now_ms() < barred.until_ms else None

    @property
    def location_ms(self) -> int:
        """The interval at which to call `location` (ms), which a ``pace`` event changes."""
        return self._session.sender.every_ms

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
        """How many fixes were dropped for newer ones, or had an invalid place."""
        return self._session.sender.fixes.dropped

    def server_now_ms(self) -> int:
        """The server's clock, by the last known offset."""
        return self._session.clock.server_now_ms()

    def seconds_left(self, offer: Offer) -> float:
        """How long an offer can still be answered, whatever the device's clock shows; 0: it cannot.

        A countdown on the screen should call this instead of subtracting the device's clock.
        """
        if not self._session.offer_is_live(offer):
            return 0.0
        return max(0, offer.expires_ms - self.server_now_ms()) / 1000

    def start(self) -> None:
        """Connect, and stay connected until `stop`; what was kept before is sent."""
        self._lifetime.start()

    async def stop(self) -> None:
        """Disconnect; fixes and reports are kept for a later `start`."""
        await self._lifetime.stop()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def online(self) -> None:
        """Wait until a socket is open and welcomed. Raises `Stopped`."""
        await self._connection.linked()

    async def closed(self) -> Stopped:
        """Wait until the client has stopped, by `stop` or finally; return the reason."""
        return await self._lifetime.closed()

    def network_is_back(self) -> None:
        """Report that the network came back or changed, or that the app woke up.

        The client connects at once instead of waiting, or checks the socket that it has.
        """
        self._connection.network_is_back()

    def drop(self, away_s: float | None = None) -> None:
        """Cut the socket without a close frame, as a device that loses its network does.

        The client reconnects by itself: as after a lost link, or after `away_s` seconds.
        """
        self._connection.abort(away_s)

    def listen(self, listener: Listener, *kinds: type[Event]) -> Callable[[], None]:
        """Call `listener` with every event in order (of these kinds, or all).

        Returns a function that unsubscribes. Events are those of `driver.events` and the engine's
        ``welcome``, ``offer``, ``offer_closed``, ``job``, ``state``, ``pace``, ``drain`` and the
        ``error`` that answers no request. A coroutine function runs as a task; errors are logged.
        """
        return self._announcer.listen(listener, kinds)

    def events(self, *kinds: type[Event]) -> EventStream:
        """Iterate over all later events (of these kinds, or all); ends after `Ended`."""
        return self._announcer.stream(kinds, ended=self._lifetime.is_over)

    async def offers(self) -> AsyncIterator[Offer]:
        """Iterate over the offers that can still be answered. For one consumer.

        Ends when the client is stopped; raises `Stopped` if the engine forbids reconnecting.
        """
        session = self._session
        while True:
            while session.offers:
                offer = session.offers.popleft()
                if session.offer_is_live(offer):
                    yield offer
            stopped = self._connection.stopped
            if stopped is not None:
                if stopped.by_app:
                    return
                raise stopped
            session.turned.clear()
            await session.turned.wait()

    def location(
        self,
        lat: float,
        lon: float,
        *,
        acc_m: float | None = None,
        heading_deg: float | None = None,
        speed_mps: float | None = None,
        at_ms: float | None = None,
    ) -> bool:
        """Report a position; sent in batches, kept while offline. `at_ms` missing: now.

        An accuracy, heading or speed out of range counts as unknown. Returns False, and keeps
        nothing, if the place is invalid.
        """
        at = self._session.clock.happened(None if at_ms is None else round(at_ms))
        return self._session.sender.add(clean_fix(at.ms, lat, lon, acc_m, heading_deg, speed_mps))

    async def status(self, wish: Wish | WishName, *, until_ms: int | None = None) -> Reply:
        """Set the status that the driver wants, and until when; sent after all fixes so far.

        The client repeats it whenever the engine has forgotten it during an absence. A newer status
        replaces one that is unanswered. Raises `RequestRefused`, `NoAnswer` (also when it was
        replaced), `Stopped`.
        """
        until = None if until_ms is None else self._session.clock.at(until_ms)
        return await self._session.send_wish(self._connection, Intent(Wish(wish), until))

    async def acknowledge(self, offer: Offer) -> None:
        """Acknowledge that an offer is on the screen. Raises `LinkLost`, `Stopped`."""
        link = await self._connection.linked()
        await link.send(OfferAck(offer.offer))

    async def accept(self, offer: Offer) -> tuple[HeldJob, ...]:
        """Take an offer; return its jobs in full.

        Repeated on the next socket when one ends. An answer that arrives after this call has timed
        out or was cancelled still counts: the jobs are then in `jobs`. Raises
        `RequestRefused` (``offer_closed`` when it was too late), `NoAnswer`, `Stopped`.
        """
        reply = await self._connection.request(
            lambda request_id: Accept(request_id, offer.offer),
            lambda reply: self._session.apply_accepted(offer.offer, reply),
            on_refusal=lambda refusal: self._session.apply_refused(offer.offer, refusal),
        )
        return tuple(HeldJob.of(detail) for detail in (reply.jobs or ()))

    async def decline(self, offer: Offer, reason: str | None = None) -> None:
        """Refuse an offer. Raises as `accept`."""
        await self._connection.request(
            lambda request_id: Decline(request_id, offer.offer, given(reason)),
            lambda reply: self._session.apply_declined(offer.offer, reply),
            on_refusal=lambda refusal: self._session.apply_refused(offer.offer, refusal),
        )

    def progress(
        self,
        job: str,
        step: Step | StepName,
        *,
        attempt: int | None = None,
        at_ms: int | None = None,
        proof: Proof | None = None,
        reason: str | None = None,
        store: str | None = None,
        parcels: int | None = None,
        jobs: Collection[str] | None = None,
    ) -> asyncio.Future[Reply]:
        """Report a step; queued in order and repeated until the engine has answered.

        The future may be awaited or left alone; it raises `RequestRefused`, or `Stopped`, when the
        report is kept for a later `start`. `attempt` missing: that of the job as held
        (`LookupError` when it never was). `at_ms` missing: now. Raises `ValueError` for fields that
        the contract forbids, and `QueueFull`. `jobs`: see `picked_up`.
        """
        session = self._session
        number = session.view.attempt_of(job) if attempt is None else attempt
        if number is None:
            raise LookupError(f"job {job} was never held here; name its attempt")
        step = Step(step)
        at = session.happened(job, step, at_ms)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        got = None if jobs is None else tuple(jobs)
        session.add_report(
            Report(job, number, step, at, proof, reason, answer, store, parcels, got)
        )
        return answer

    def collected(
        self,
        job: str,
        store: str,
        parcels: int | None = None,
        *,
        attempt: int | None = None,
        at_ms: int | None = None,
        proof: Proof | None = None,
    ) -> asyncio.Future[Reply]:
        """Report what a shop handed over: all parcels unless `parcels` says how many, 0 for none.

        A later number corrects an earlier one. The job is on board from the first parcel on. With 0
        the order may be held: then the job leaves `jobs`, and the driver continues with the rest of
        its run. If the job's ``on_short`` is ``hold`` or ``fail``, take nothing from a shop that
        has too few, and report the problem ``partial``. Queued and repeated as `progress`.
        """
        return self.progress(
            job,
            Step.COLLECTED,
            attempt=attempt,
            at_ms=at_ms,
            proof=proof,
            store=store,
            parcels=parcels,
        )

    def picked_up(
        self,
        job: str,
        *,
        code: str | None = None,
        jobs: Collection[str] | None = None,
        at_ms: int | None = None,
    ) -> asyncio.Future[Reply]:
        """Report that the parcels are on board. As `progress`.

        Of a transfer: `code` is what the other driver's app shows (`SocketJob.transfer`), `jobs`
        those of its jobs that you got (None: all). They are in `jobs` afterwards.
        """
        proof = None if code is None else Proof("code", code)
        return self.progress(job, Step.PICKED_UP, at_ms=at_ms, proof=proof, jobs=jobs)

    def at_door(self, job: str, *, at_ms: int | None = None) -> asyncio.Future[Reply]:
        """Report the arrival at the customer's door; see `progress`."""
        return self.progress(job, Step.AT_DOOR, at_ms=at_ms)

    def returning(
        self, job: str, reason: str | None = None, *, at_ms: int | None = None
    ) -> asyncio.Future[Reply]:
        """Report that the parcels go back; see `progress`.

        Once it is answered, the job in `jobs` says where to bring them: ``detail.return_to``.
        """
        return self.progress(job, Step.RETURNING, reason=reason, at_ms=at_ms)

    def resume(self, job: str, *, at_ms: int | None = None) -> asyncio.Future[Reply]:
        """Report that a return turns round: the customer takes the parcels; see `progress`.

        Refused (``wrong_state``) once the order was cancelled.
        """
        return self.progress(job, Step.RESUME, at_ms=at_ms)

    def returned(
        self,
        job: str,
        *,
        code: str | None = None,
        photo: str | None = None,
        reason: str | None = None,
        at_ms: int | None = None,
    ) -> asyncio.Future[Reply]:
        """Report that the parcels are back, with the code that the place shows, or a photo.

        Refused with ``no_position`` if no fix since `returning` lies inside of the place, with
        ``proof_needed`` if it needs the other proof. Raises `ValueError` if both are given; see
        `progress`.
        """
        if code is not None and photo is not None:
            raise ValueError("give the code or a photo")
        proof = Proof("code", code) if code is not None else None
        if photo is not None:
            proof = Proof("photo", photo)
        return self.progress(job, Step.RETURNED, proof=proof, reason=reason, at_ms=at_ms)

    async def upload_proof(self, image: bytes) -> str:
        """Upload a photo or signature (JPEG, PNG or WebP, up to 2 MiB) and return its id.

        The id is the value of a `Proof` of kind ``photo`` or ``signature``, or the photo of
        `returned`. It needs no socket. Raises `ApiProblem`, `BadAnswer`, `Unreachable`, `NoToken`.
        """
        token = await self._tokens.current()
        async with ProofUpload(self._urls, token, self._tls) as upload:
            return await upload.send(image)

    async def problem(
        self,
        kind: ProblemKind,
        *,
        job: str | None = None,
        store: str | None = None,
        until_ms: int | None = None,
        text: str | None = None,
        at_ms: int | None = None,
    ) -> Reply:
        """Report that something is wrong. Raises `RequestRefused`, `NoAnswer`, `Stopped`.

        ``missing``, ``partial`` and ``store_closed`` may take the job away, until the shop or the
        order service answers. An answer is a ``job`` event with ``answer``. `at_ms` missing: now.
        """
        at = self._session.on_server_ms(at_ms) if at_ms is not None else self.server_now_ms()
        attempt = None if job is None else self._session.view.attempt_of(job)
        return await self._connection.request(
            lambda request_id: Problem(
                request_id,
                kind,
                job or UNSET,
                store or UNSET,
                self._session.on_server_ms(until_ms),
                text or UNSET,
                given(attempt),
                at,
            ),
            self._session.apply_state,
        )
