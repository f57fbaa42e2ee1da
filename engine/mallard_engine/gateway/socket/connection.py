"""One driver's socket from its first frame to its last: the I/O around a `Session`."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Iterable
from itertools import repeat
from typing import Final

from mallard_engine.contract.reading.frames import (
    BadMessage,
    BadToken,
    Dropped,
    FrameReader,
    FrameTooBig,
)
from mallard_engine.dispatch.leases import CLOCK_STEP_S
from mallard_engine.gateway.positions import driver_fix
from mallard_engine.gateway.socket.admission import AdmissionDenied, Admitted
from mallard_engine.gateway.socket.connect_pace import NoTurn
from mallard_engine.gateway.socket.handshake import (
    admit_hello,
    claim_custody,
    pushed,
    pushed_job,
    readmit,
    register,
    renewed,
    report_wrong_fields,
    snapshot_of,
    take_further_hello,
    vehicle_of,
    welcome,
)
from mallard_engine.gateway.socket.location_pace import LocationPace
from mallard_engine.gateway.socket.payloads import push_frame
from mallard_engine.gateway.socket.request_handlers import Request, Requests, refusal
from mallard_engine.gateway.socket.services import SocketServices
from mallard_engine.gateway.socket.session import Action, End, Load, Refresh, Session, Settle
from mallard_engine.gateway.socket.timers import SocketTimers
from mallard_engine.gateway.socket.transport.outbox import FrameTransport, Outbox
from mallard_engine.ports import (
    DriverSnapshot,
    NoSuchDriver,
    NoSuchJob,
    OwnDriver,
    Push,
    StoreFull,
    StoreUnavailable,
    TakenBack,
)
from mallard_engine.tasks import cancel
from mallard_protocol.codec import FrameError
from mallard_protocol.codes import Close, ErrorCode
from mallard_protocol.lifecycle import DriverState
from mallard_protocol.messages import (
    Auth,
    ClientMessage,
    Drain,
    Hello,
    Location,
    Pace,
    Pong,
    ServerMessage,
)


class DriverConnection:
    """Handles frames in order, sends replies and pushes, and runs the socket's timers.

    It is the hub's `Listener` of its driver. Call `close` at the end, also after an error.

    Args:
        services: the parts of the node.
        transport: where frames are written.
        reader: reads the frames of the negotiated subprotocol.
        admitted: the driver of the handshake's token; None if the token comes with the hello.
    """

    def __init__(
        self,
        services: SocketServices,
        transport: FrameTransport,
        reader: FrameReader,
        admitted: Admitted | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.id: Final = secrets.token_hex(8)
        self.code: Close | None = None
        self._services = services
        self._reader = reader
        self._codec = reader.codec
        self._admitted = admitted
        self._mark_authenticated = transport.mark_authenticated
        self._outbox = Outbox(transport)
        self._clock = loop.time
        self._rate = transport.rate
        self._timers = SocketTimers(services.timeouts, loop.time())
        self._session: Session | None = None
        # A reply and a `welcome` must be sent in the order in which their data was read.
        self._busy = asyncio.Lock()
        self._read_task: asyncio.Task[None] | None = None
        self._settle_task: asyncio.Task[None] | None = None
        self._expires_ms = 0
        self._welcomes = 0
        # The clock of Redis minus ours, in seconds, as the last `welcome` told it.
        self._ahead_s = 0.0
        # `session.answers` when pushes were last held back; whether a `welcome` must follow.
        self._answers_at_hold = 0
        self._owes_welcome = False
        # Whether the next `welcome` must ask for a hello; how many such requests are unanswered.
        self._owes_hello = False
        self._hellos_due = 0
        self._pace = LocationPace()
        self._slot = 0.0
        self._schedule()

    @property
    def who(self) -> dict[str, str]:
        """The market and the driver, for the log; empty before the hello."""
        session = self._session
        return {"market": session.market, "driver": session.driver} if session else {}

    @property
    def epoch(self) -> int:
        """See `hub.Listener`."""
        return self._session.epoch if self._session else 0

    @property
    def shown(self) -> DriverState:
        """See `hub.Listener`."""
        return self._session.shown if self._session else DriverState.OFFLINE

    # -- frames from the app

    def handle(self, frame: bytes | str) -> Awaitable[None] | None:
        """Handle a frame.

        Returns:
            None if the frame is done; else what to await before the next frame.
        """
        if self.code is not None:
            return None
        self._timers.last_frame_s = self._clock()
        if self._rate.warns():
            self.send(refusal(ErrorCode.RATE_LIMITED, None))
        try:
            message, dropped = self._reader.read(frame)
        except FrameError as error:
            self._refuse(error)
            return None
        session = self._session
        if session is None:
            return self._first(message, dropped)
        if session.unreachable:
            session.unreachable = False
            return self._reachable_again(session, message, dropped)
        return self._take(session, message, dropped)

    def _refuse(self, error: FrameError) -> None:
        if isinstance(error, FrameTooBig):
            self.end(Close.TOO_BIG)
        elif isinstance(error, BadMessage) and self._session:
            self.send(refusal(error.code, error.request_id, error.message))
        else:
            self.end(Close.BAD_TOKEN if isinstance(error, BadToken) else Close.UNDECODABLE)

    def _take(
        self, session: Session, message: ClientMessage, dropped: int
    ) -> Awaitable[None] | None:
        match message:
            case Location():
                self._locate(session, message, dropped)
            case Pong():
                pass
            case Auth():
                return self._renew(session, message)
            case Hello() if self._hellos_due:
                return self._on_further_hello(session, message)
            case Hello():
                self.send(refusal(ErrorCode.WRONG_STATE, None, "hello was said already"))
            case _:
                return self._answer(session, message)
        return None

    def _locate(self, session: Session, message: Location, dropped: int) -> None:
        driver = session.driver
        fixes = [driver_fix(driver, fix) for fix in (*message.fixes, *repeat(None, dropped))]
        self._services.positions.add(session.market, driver, fixes)
        self._advise(self._pace.moved(message.fixes, self._clock(), is_busy=session.is_busy))

    def _advise(self, location_ms: int | None) -> None:
        """Send the app another reporting interval; None leaves it unchanged."""
        if location_ms is not None:
            self.send(Pace(location_ms))

    async def _reachable_again(
        self, session: Session, message: ClientMessage, dropped: int
    ) -> None:
        """Make the driver available again with its first frame after an unacknowledged offer."""
        try:
            await self._services.dispatcher.drivers.seen(session.market, session.driver)
        except StoreUnavailable:
            session.unreachable = True
        rest = self._take(session, message, dropped)
        if rest is not None:
            await rest

    async def _answer(self, session: Session, request: Request) -> None:
        async with self._busy:
            try:
                answer = await Requests(self._services, session).answer(request)
            except NoSuchDriver:  # Redis has lost the driver
                self._resynchronise(session)
                answer = refusal(ErrorCode.STORE_UNAVAILABLE, getattr(request, "id", None))
            if answer is not None:
                self.send(answer)
        self._advise(self._pace.speed_up(self._clock(), is_busy=session.is_busy))

    async def _renew(self, session: Session, auth: Auth) -> None:
        """Continue with a new token of the same driver."""
        try:
            admitted = readmit(self._services, session, auth)
        except AdmissionDenied as denied:
            if denied.code is Close.WRONG_SCOPE:
                self.end(denied.code)
            else:
                self.send(refusal(ErrorCode.BAD_FIELD, auth.id, "the token is not valid"))
            return
        self._authorize(admitted)
        self.send(await renewed(self._services, session, auth, admitted))

    # -- hello

    def _first(self, message: ClientMessage, dropped: int) -> Awaitable[None] | None:
        if not isinstance(message, Hello):
            self.end(Close.UNDECODABLE)
            return None
        try:
            admitted = admit_hello(self._services, self._admitted, message)
        except AdmissionDenied as denied:
            self.end(denied.code)
            return None
        # An authenticated client that waits for its turn must not count towards the limits of
        # unauthenticated ones, and a revocation must find it.
        self._admitted = admitted
        self._mark_authenticated()
        if self._services.pace.is_full:
            self._send_away()
            return None
        return self._on_hello(message, admitted, dropped)

    def _send_away(self) -> None:
        self._services.metrics.hello_postponed()
        self.drain(self._services.pace.reconnect_after_ms())
        self.end(Close.DRAINING)

    async def _on_hello(self, hello: Hello, admitted: Admitted, dropped: int) -> None:
        services = self._services
        session = self._session = Session(admitted.market, admitted.driver)
        session.vehicle, session.claims = vehicle_of(hello), admitted.claims
        self._timers.hello_received(self._clock(), random.random())  # noqa: S311 - a spread, no secret
        # Added to the hub before Redis registers the socket, so that no push is missed.
        services.hub.add(session.market, session.driver, self)
        try:
            async with services.pace.turn(), self._busy:
                if self.code is None:
                    await self._begin(session, hello, admitted)
        except NoTurn:
            self._send_away()
            return
        if isinstance(dropped, Dropped) and dropped.fields and self.code is None:
            await report_wrong_fields(services, session, dropped.fields)

    async def _begin(self, session: Session, hello: Hello, admitted: Admitted) -> None:
        """Register the socket and send the first `welcome`."""
        services = self._services
        try:
            registered = await register(services, session, hello)
            self._apply(session.registered(registered.epoch))
            await claim_custody(services, session, hello.holds)
            snapshot = await snapshot_of(
                services, session, registered.driver, suffices=not hello.holds
            )
        except (StoreUnavailable, StoreFull, NoSuchDriver):
            self.send(refusal(ErrorCode.STORE_UNAVAILABLE, None))
            self.end(Close.NO_STORE)
            return
        self._authorize(admitted)
        self._welcome(session, snapshot)

    async def _on_further_hello(self, session: Session, hello: Hello) -> None:
        """Handle a hello that `say_hello` asked for.

        Redis may not know the parcels that it reports, nor its device.
        """
        services = self._services
        async with self._busy:
            session.hold()  # a push after the snapshot must not overtake the `welcome`
            try:
                snapshot = await take_further_hello(services, session, hello)
            except (StoreUnavailable, NoSuchDriver):
                self.send(refusal(ErrorCode.STORE_UNAVAILABLE, None))
                self._resynchronise(session)
                return
            self._hellos_due -= 1
            self._welcome(session, snapshot)

    def _welcome(self, session: Session, snapshot: DriverSnapshot) -> None:
        if self.code is not None:  # the recovery may end after the socket
            return
        self._welcomes += 1
        self._ahead_s = snapshot.now_ms / 1000 - self._clock()
        say_hello = self._owes_hello
        self._owes_welcome = self._owes_hello = False
        self._hellos_due += say_hello
        self.send(
            welcome(
                self._services,
                snapshot,
                market=session.market,
                session=self.id,
                expires_ms=self._expires_ms,
                say_hello=say_hello,
            )
        )
        self._services.dispatcher.drivers.set_held_jobs(session.market, snapshot)
        location_ms = self._services.timeouts.location_ms
        self._pace.begin(self._services.dispatcher.drivers.reporting(session.market, location_ms))
        self._apply(session.welcomed(snapshot))

    def _authorize(self, admitted: Admitted) -> None:
        self._admitted = admitted
        self._mark_authenticated()
        self._expires_ms = admitted.expires_ms
        left_s = admitted.expires_ms / 1000 - time.time()
        now_s = self._clock()
        self._timers.authorized(now_s, now_s + left_s, admitted.expires_ms)
        self._schedule()

    # -- calls of the hub

    def end_if_revoked(self) -> None:
        """See `hub.Listener`."""
        if self._admitted is not None and self._services.admission.is_revoked(self._admitted):
            self.end(Close.BAD_TOKEN)

    def hold(self) -> OwnDriver | None:
        """See `hub.Listener`."""
        session = self._session
        if session is None or not session.epoch or self.code is not None:
            return None
        session.hold()
        self._answers_at_hold = session.answers
        return session.own

    async def restore(self, taken: TakenBack, *, rewound: bool) -> None:
        """See `hub.Listener`. Sends a `welcome` unless nothing can have changed."""
        session = self._session
        if session is None or self.code is not None:
            return
        if taken.verdict == "lost":
            self.end(Close.REPLACED)
            return
        missed = not session.has_all_until(taken.driver.seq)  # with a reply that was lost
        ahead_s = self._services.store.now_ms() / 1000 - self._clock()
        is_off = abs(ahead_s - self._ahead_s) > CLOCK_STEP_S  # the app's clock, therefore
        if taken.verdict == "kept" and not (rewound or missed or is_off or self._owes_welcome):
            self._apply(session.release())
            return
        self._owes_hello |= rewound or self._hellos_due > 0
        if rewound and not self._owes_welcome and session.agrees_idle(taken.driver):
            # `ask_hello` follows. Until then the driver can get offers.
            self._apply(session.release())
            return
        self._owes_welcome = True
        async with self._busy:
            suffices = session.answers == self._answers_at_hold
            snapshot = await snapshot_of(self._services, session, taken.driver, suffices=suffices)
            self._welcome(session, snapshot)

    @property
    def owes_hello(self) -> bool:
        """See `hub.Listener`."""
        return self._owes_hello and self.code is None

    async def ask_hello(self) -> None:
        """See `hub.Listener`."""
        if self._session is not None and self.owes_hello:
            self._session.hold()
            await self._refresh()

    def _resynchronise(self, session: Session) -> None:
        """Hold pushes back and send a `welcome` once Redis can be read.

        Called when the app's view may be wrong.
        """
        session.hold()
        self._owes_welcome = True
        self._services.dispatcher.recover_soon(session.market)

    def push(self, push: Push) -> None:
        """See `hub.Listener`."""
        if self._session is not None and self.code is None:
            self._apply(self._session.push(push))
            self._advise(self._pace.speed_up(self._clock(), is_busy=self._session.is_busy))

    def end(self, code: Close) -> None:
        """Close the socket, once."""
        if self.code is None:
            self.code = code
            self._outbox.end(code)

    def drain(self, reconnect_after_ms: int) -> None:
        """See `hub.Listener`."""
        self.send(Drain(reconnect_after_ms))

    def send(self, message: ServerMessage) -> None:
        """Send a message after the queued ones."""
        if self.code is None:
            self._outbox.put(self._codec.encode(message))

    async def close(self) -> None:
        """Remove the socket from the hub and report the end to the store."""
        self.code = self.code or Close.DRAINING
        self._services.wheel.cancel(self, self._slot)
        self._outbox.clear()
        await cancel(self._read_task, self._settle_task)
        session = self._session
        if session is not None:
            market, driver, epoch = session.market, session.driver, session.epoch
            hub = self._services.hub
            hub.remove(market, driver, self)
            # After lost writes a newer socket may have got the same epoch.
            if epoch and not hub.has(market, driver, epoch):
                self._services.dispatcher.drivers.socket_closed(market, driver, epoch)

    def _apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, End):
                self.end(action.code)
            elif isinstance(action, Load):
                self._read_task = asyncio.create_task(self._load(action.push), name="load job")
            elif isinstance(action, Refresh):
                self._read_task = asyncio.create_task(self._refresh(), name="refresh")
            elif isinstance(action, Settle):
                self._settle_task = asyncio.create_task(self._settle(), name="settle")
            else:
                self.send(pushed(self._services, action.push))

    async def _load(self, push: Push) -> None:
        """Send the push of a job that is new to the driver, with the complete job."""
        services, session, welcomes = self._services, self._session, self._welcomes
        if session is None:
            return
        try:
            detail = await pushed_job(services, push)
        except (StoreUnavailable, NoSuchJob):
            self._resynchronise(session)  # the next welcome has the job
        else:
            if welcomes == self._welcomes:  # else a later welcome has the job
                self.send(push_frame(push, now_ms=services.store.now_ms(), detail=detail))
        self._apply(session.loaded())

    async def _settle(self) -> None:
        """Find out whether the pushes before an early one still come."""
        session = self._session
        if session is None:
            return
        try:
            await self._services.relay.settled(session.market)
        except StoreUnavailable:
            self._resynchronise(session)
        self._apply(session.settled())

    async def _refresh(self) -> None:
        """Send a `welcome` with the current state. Pushes are held back already."""
        session = self._session
        if session is None:
            return
        async with self._busy:
            try:
                snapshot = await self._services.store.drivers.snapshot(
                    session.market, session.driver
                )
            except (StoreUnavailable, NoSuchDriver):
                self._resynchronise(session)
                return
            self._welcome(session, snapshot)

    # -- timers

    def _schedule(self) -> None:
        """Schedule the next check of the timers."""
        wheel = self._services.wheel
        wheel.cancel(self, self._slot)
        self._slot = wheel.schedule(self, self._timers.next_s(), self._services.timeouts.slot_s)

    def on_timer(self) -> None:
        """See `timer_wheel.Timed`."""
        for due in self._timers.due(self._clock()):
            if isinstance(due, Close):
                self.end(due)
                return
            self.send(due)
        if self.code is None:
            self._schedule()
