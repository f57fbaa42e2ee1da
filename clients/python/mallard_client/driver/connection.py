"""Keeps a driver app connected: connects, says hello, reads, reconnects as advised."""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from mallard_client.backoff import Backoff
from mallard_client.driver.clock import Clock
from mallard_client.driver.events import (
    Connected,
    Connecting,
    Disconnected,
    Lifecycle,
    TokenTrouble,
)
from mallard_client.driver.reconnect import LOST, Ending, ReconnectPolicy, Retry
from mallard_client.driver.socket import Link, Liveness, MakeRequest, OnRefusal, OnReply
from mallard_client.errors import LinkLost, NoAnswer, NoToken, RequestRefused, Stopped
from mallard_client.http.request import retry_after_s
from mallard_client.tokens import Sleep, TokenSource
from mallard_client.waiting import first_of, outcome_unless
from mallard_protocol.codec import UndecodableFrame, for_subprotocol
from mallard_protocol.messages import (
    Auth,
    AuthExpiring,
    Drain,
    Hello,
    Ping,
    Pong,
    Reply,
    ServerMessage,
    Welcome,
)

_PATH: Final = "/v1/driver"
# For the handshake, and again for the welcome. Together with the longest wait between two tries
# this keeps a reconnect without a hint within the 30 s that an offer lives.
_WELCOME_WITHIN_S: Final = 8.0
# The server pings every `ping_ms`; twice that without a frame means that the server is gone.
_SILENT_AFTER_PINGS: Final = 2
_GOODBYE_WITHIN_S: Final = 2.0
# Several hints of the app within this time count as one.
_HINT_EVERY_MS: Final = 1_000
# A token that expires again this soon after its renewal is short-lived: the client fetches the next
# one after half of its lifetime.
_SHORT_LIFE_MS: Final = 60_000

_log = logging.getLogger(__name__)


class Session(Protocol):
    """The callbacks of the app that a connection serves."""

    @property
    def offered(self) -> bool:
        """Whether an offer waits for its answer."""

    def hello(self, token: str) -> Hello:
        """The first message."""

    async def welcomed(self, welcome: Welcome, link: Link) -> None:
        """Handle a welcome; send first what must precede everything else."""

    async def received(self, message: ServerMessage, link: Link) -> None:
        """Handle a message, in order; answers have been passed to the calls that await them."""

    def apply_state(self, reply: Reply) -> None:
        """Handle the driver's state in a reply."""

    def emit(self, event: Lifecycle) -> None:
        """Handle a change of the connection."""


@dataclass(frozen=True, slots=True)
class Transport:
    """How sockets are opened and checked."""

    subprotocol: str
    tls: ssl.SSLContext | None
    backoff: Backoff
    liveness: Liveness
    request_timeout_s: float


class _Connect(connect):
    """Follows no redirect, which would send the driver's token to a captive portal."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


class Connection:
    """One driver's connection, over as many sockets as it takes.

    `urls` are tried in turn, one for each socket. `sleep` waits, in seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        tokens: TokenSource,
        session: Session,
        transport: Transport,
        *,
        clock: Clock,
        rng: random.Random,
        sleep: Sleep,
    ) -> None:
        self._urls = [socket_url(url) for url in urls]
        if not self._urls:
            raise ValueError("an engine's address is needed")
        self._tokens = tokens
        self._session = session
        self._transport = transport
        self._codec = for_subprotocol(transport.subprotocol)
        self._policy = ReconnectPolicy(
            rng, token_renewable=tokens.renewable, backoff=transport.backoff
        )
        self._clock = clock
        self._sleep = sleep
        self._tries = 0
        self._tries_since_welcome = 0
        self._away_s: float | None = None
        self._link: Link | None = None
        self._turned = asyncio.Event()
        self._hint = asyncio.Event()
        self._hinted_at_ms: int | None = None
        self._next_try_ms: int | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._renewed_at_ms: int | None = None
        self._announced_token: str | None = None
        self.stopped: Stopped | None = Stopped("the client was not started", by_app=True)

    @property
    def connected(self) -> bool:
        """Whether a socket is open and welcomed."""
        return self._link is not None

    @property
    def reconnecting_in(self) -> float | None:
        """Seconds until the next try to connect; None while connected, connecting or stopped."""
        if self._next_try_ms is None:
            return None
        return max(0, self._next_try_ms - self._clock.uptime_ms()) / 1000

    async def run(self) -> None:
        """Stay connected. Raises `Stopped` when a retry cannot help."""
        while True:
            ending = await self._try_once()
            retry = self._policy.after(
                ending, self._clock.uptime_ms(), offered=self._session.offered
            )
            if retry.fresh_token and self._announced_token is not None:
                self._tokens.expired(self._announced_token)
            away_s, self._away_s = self._away_s, None
            if away_s is not None:
                retry = Retry(away_s, firm=True)
            _log.debug("socket ended: %s; again in %.2f s", ending.reason, retry.wait_s)
            self._session.emit(
                Disconnected(ending.reason, retry.wait_s, ending.code, ending.http_status)
            )
            await self._pause(retry)

    def reset(self) -> None:
        """Prepare a stopped connection for another `run`."""
        self.stopped = None
        self._turned.clear()

    def stop(self, why: Stopped) -> None:
        """Fail every call that waits for a socket."""
        self.stopped = why
        self._next_try_ms = None
        self._turned.set()

    @property
    def url(self) -> str:
        """The address of the open socket, or of the last one."""
        return self._urls[max(0, self._tries - 1) % len(self._urls)]

    def abort(self, away_s: float | None = None) -> None:
        """Cut the socket without a close frame; reconnect as for a lost link, or in `away_s`."""
        if self._link is not None:
            self._away_s = away_s
            self._link.abort()

    def network_is_back(self) -> None:
        """Connect now, without waiting any longer; an open socket is checked."""
        self._policy.start_over()
        if self._link is not None:
            self._link.suspect()
            return
        now_ms = self._clock.uptime_ms()
        if self._hinted_at_ms is None or now_ms - self._hinted_at_ms >= _HINT_EVERY_MS:
            self._hinted_at_ms = now_ms
            self._hint.set()

    async def linked(self) -> Link:
        """Wait for a welcomed socket. Raises `Stopped`."""
        while self._link is None:
            if self.stopped is not None:
                raise self.stopped
            await self._turned.wait()
        return self._link

    async def request(
        self,
        make: MakeRequest,
        on_reply: OnReply,
        *,
        on_refusal: OnRefusal = lambda _refusal: None,
        before: Callable[[Link], Awaitable[None]] | None = None,
    ) -> Reply:
        """Send a request, again on the next socket if one ends, until it is answered.

        `before` sends what must precede it on the same socket. Raises `RequestRefused`, `NoAnswer`
        after the timeout, `Stopped`.
        """
        timeout_s = self._transport.request_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    link = await self.linked()
                    try:
                        if before is not None:
                            await before(link)
                        return await link.ask(make, on_reply, on_refusal)
                    except LinkLost:
                        self.lose(link)
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout_s:g} s") from None

    def lose(self, link: Link) -> None:
        """Drop a lost link: later calls wait for another one."""
        if self._link is link:
            self._link = None
            if self.stopped is None:
                self._turned.clear()

    async def _pause(self, retry: Retry) -> None:
        self._hint.clear()
        self._next_try_ms = self._clock.uptime_ms() + round(retry.wait_s * 1000)
        try:
            if retry.firm:
                await self._sleep(retry.wait_s)
            else:
                await first_of(self._sleep(retry.wait_s), self._hint.wait())
        finally:
            self._next_try_ms = None

    async def _try_once(self) -> Ending:
        self._tries += 1
        self._tries_since_welcome += 1
        self._session.emit(Connecting(self.url, self._tries_since_welcome))
        try:
            token = await self._tokens.current()
            socket = await self._open()
        except NoToken as error:
            _log.warning("%s", error)
            self._session.emit(TokenTrouble(str(error)))
            return Ending(str(error))
        except InvalidStatus as refused:
            headers = refused.response.headers
            wish_s = retry_after_s(headers.get("Retry-After"), headers.get("Date"))
            status = refused.response.status_code
            return Ending(str(refused), http_status=status, retry_after_s=wish_s)
        except Exception as error:  # a portal or a proxy may cause any error
            return Ending(f"cannot connect: {error!r}")
        if socket is None:
            return Ending("the app reported that the network is back", hinted=True)
        link = Link(socket, self._codec, self._transport.liveness)
        watching = asyncio.create_task(link.watch(), name="driver-watch")
        self._announced_token = token
        try:
            return await self._serve(link, socket)
        except Exception as error:  # a bug in the client must not disconnect the driver for good
            _log.exception("the client failed on a message; it continues with another socket")
            return Ending(f"the client failed: {error!r}")
        finally:
            self.lose(link)
            if self._renewal is not None:
                self._renewal.cancel()
            watching.cancel()
            await link.close()

    async def _open(self) -> ClientConnection | None:
        """Open a socket; None if the app reports meanwhile that the network has changed."""
        self._hint.clear()
        opening = _Connect(
            self.url + _PATH,
            ssl=self._transport.tls,
            subprotocols=[Subprotocol(self._codec.subprotocol)],
            compression=None,
            ping_interval=None,
            open_timeout=_WELCOME_WITHIN_S,
            close_timeout=_GOODBYE_WITHIN_S,
        )
        return await outcome_unless(
            opening.connect(), self._hint.wait(), discard=lambda socket: socket.transport.abort()
        )

    async def _serve(self, link: Link, socket: ClientConnection) -> Ending:
        welcomed_ms: int | None = None
        code: int | None = None
        try:
            welcome = await self._exchange_hello(link)
            welcomed_ms = self._clock.uptime_ms()
            await self._session.welcomed(welcome, link)
            self._tries_since_welcome = 0
            self._link = link
            self._turned.set()
            self._session.emit(Connected(self.url, welcome.session))
            silent_after_s = _SILENT_AFTER_PINGS * welcome.ping_ms / 1000
            while True:
                message = await link.receive(within_s=silent_after_s)
                if message is not None:
                    await self._take(message, link)
        except (ConnectionClosed, LinkLost):
            code = socket.close_code
            reason = socket.close_reason or "the socket ended"
        except TimeoutError:
            reason = "the server fell silent"
        except UndecodableFrame as error:
            reason = f"the server sent bytes that are not a message: {error}"
        lasted_ms = 0 if welcomed_ms is None else self._clock.uptime_ms() - welcomed_ms
        return Ending(reason, code or LOST, lasted_ms=lasted_ms)

    async def _exchange_hello(self, link: Link) -> Welcome:
        asked_at_ms = self._clock.uptime_ms()
        await self._say_hello(link)
        async with asyncio.timeout(_WELCOME_WITHIN_S):
            while True:
                message = await link.receive(within_s=_WELCOME_WITHIN_S)
                if isinstance(message, Welcome):
                    self._clock.welcomed(message.server_time_ms, asked_at_ms=asked_at_ms)
                    return message
                if message is not None:  # a busy node sends `drain` in place of a welcome
                    await self._take(message, link)

    async def _say_hello(self, link: Link) -> None:
        await link.send(self._session.hello(self._announced_token or ""))

    async def _take(self, message: ServerMessage, link: Link) -> None:
        if isinstance(message, Welcome):
            await self._welcomed_again(message, link)
            return
        if isinstance(message, Ping):
            await link.send(Pong())
        elif isinstance(message, AuthExpiring):
            self._renew_before(message.at_ms, link)
        elif isinstance(message, Drain):
            self._policy.drained(message.reconnect_after_ms, self._clock.uptime_ms())
        await self._session.received(message, link)

    async def _welcomed_again(self, welcome: Welcome, link: Link) -> None:
        """Handle a further welcome: Redis has lost writes.

        Sends the held jobs again before the welcome overwrites them, and repeats pending requests,
        which may be lost.
        """
        self._clock.welcomed(welcome.server_time_ms)
        if welcome.say_hello is True:
            await self._say_hello(link)
        await self._session.welcomed(welcome, link)
        await link.ask_again()

    def _renew_before(self, at_ms: int, link: Link) -> None:
        """Renew the token; repeated requests of the server start no second renewal."""
        if not self._tokens.renewable:
            reason = "the token expires and is the only one"
            self._session.emit(TokenTrouble(reason))
            _log.warning("%s", reason)
        elif self._renewal is None or self._renewal.done():
            left_s = (at_ms - self._clock.server_now_ms()) / 1000
            renewing = self._renew(link, left_s)
            self._renewal = asyncio.create_task(renewing, name="driver-token")

    async def _renew(self, link: Link, left_s: float) -> None:
        """Fetch another token and send it.

        If that fails within `left_s`, the server closes with 4005 and the client reconnects with
        another token."""
        now_ms, renewed_ms = self._clock.uptime_ms(), self._renewed_at_ms
        if renewed_ms is not None and now_ms - renewed_ms < _SHORT_LIFE_MS:
            left_s -= await self._wait_for_half(left_s)
        while not await self._announced_a_better_token(link) and left_s > 0:
            left_s -= await self._wait_for_half(left_s)

    async def _wait_for_half(self, left_s: float) -> float:
        wait_s = max(1.0, left_s / 2)
        await self._sleep(wait_s)
        return wait_s

    async def _announced_a_better_token(self, link: Link) -> bool:
        """Whether this socket needs no further renewal now."""
        before = self._tokens.known
        try:
            token = await self._tokens.other_than(before)
            await link.ask(lambda request_id: Auth(request_id, token), self._session.apply_state)
        except LinkLost:
            return True
        except (NoToken, RequestRefused) as error:
            _log.warning("the token was not renewed: %s", error)
            self._session.emit(TokenTrouble(f"the token was not renewed: {error}"))
            return False
        self._announced_token = token
        self._renewed_at_ms = self._clock.uptime_ms()
        return True


def socket_url(url: str) -> str:
    """The address for sockets of an engine that is named by either of its addresses.

    Raises `ValueError` for another kind of address, which no retry can fix.
    """
    scheme, separator, rest = url.rstrip("/").partition("://")
    scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
    if scheme not in {"ws", "wss"} or not separator or not rest:
        raise ValueError(
            f"{url!r} is not the address of an engine: ws://HOST:PORT or http://HOST:PORT"
        )
    return f"{scheme}://{rest}"
