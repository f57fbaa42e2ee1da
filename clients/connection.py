"""Keeps a driver app connected: connects, says hello, reads, comes back as advised."""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from clients.errors import ClientError, LinkLost, NoAnswer, NoToken, Stopped
from clients.link import Believe, Link, MakeRequest
from clients.reconnect import Ending, ReconnectPolicy
from clients.tokens import TokenSource
from protocol.codec import UndecodableFrame, for_subprotocol
from protocol.messages import (
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

_PATH = "/v1/driver"
_WELCOME_WITHIN_S = 10.0
# The server pings every `ping_ms`; twice that without a frame means that nobody is there.
_SILENT_AFTER_PINGS = 2
_GOODBYE_WITHIN_S = 2.0
_LOST = 1006

_log = logging.getLogger(__name__)


class Session(Protocol):
    """What the connection asks of the app that it connects."""

    def hello(self, token: str) -> Hello:
        """The first message."""

    async def welcomed(self, welcome: Welcome, offset_ms: int, link: Link) -> None:
        """The engine told the truth; send now what must go before everything else.

        `offset_ms` is the server's clock minus ours.
        """

    async def received(self, message: ServerMessage, link: Link) -> None:
        """A message came in, in order; answers have gone to who waits for them already."""


class Connection:
    """One driver's connection, over as many sockets as it takes.

    `urls` are tried in turn, one for each socket. `now_ms` is the app's clock, `sleep` waits, in
    seconds.
    """

    def __init__(
        self,
        urls: Sequence[str],
        tokens: TokenSource,
        session: Session,
        *,
        subprotocol: str,
        dice: random.Random,
        now_ms: Callable[[], int],
        sleep: Callable[[float], Awaitable[object]],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._urls = [socket_url(url) for url in urls]
        self._tokens = tokens
        self._session = session
        self._codec = for_subprotocol(subprotocol)
        self._policy = ReconnectPolicy(dice, token_renewable=tokens.renewable)
        self._now_ms = now_ms
        self._sleep = sleep
        self._tls = tls
        self._tries = 0
        self._away_s: float | None = None
        self._link: Link | None = None
        self._turned = asyncio.Event()
        self._renewals: set[asyncio.Task[None]] = set()
        self.stopped: Stopped | None = None

    @property
    def connected(self) -> bool:
        """Whether a socket is open and welcomed."""
        return self._link is not None

    async def run(self) -> None:
        """Stay connected. Returns when trying again cannot help; `stopped` says why then."""
        try:
            while True:
                ending = await self._try_once()
                retry = self._policy.after(ending, self._now_ms())
                _log.debug("socket ended: %s; again in %.2f s", ending.reason, retry.wait_s)
                if retry.fresh_token:
                    self._tokens.forget()
                away_s, self._away_s = self._away_s, None
                await self._sleep(retry.wait_s if away_s is None else away_s)
        except Stopped as stopped:
            self.stop(stopped)

    def reset(self) -> None:
        """Make a stopped connection fit for another `run`."""
        self.stopped = None
        self._turned.clear()

    def stop(self, why: Stopped) -> None:
        """Let nobody wait for a socket any more."""
        self.stopped = why
        self._turned.set()

    @property
    def url(self) -> str:
        """The address of the open socket, or of the last one."""
        return self._urls[max(0, self._tries - 1) % len(self._urls)]

    def abort(self, away_s: float | None = None) -> None:
        """Cut the socket without a goodbye; come back as after any lost link, or after `away_s`."""
        if self._link is not None:
            self._away_s = away_s
            self._link.abort()

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
        believe: Believe,
        *,
        timeout_s: float,
        before: Callable[[Link], Awaitable[None]] | None = None,
    ) -> Reply:
        """Ask, over again on the next socket when one ends, until there is an answer.

        `before` sends what must go first on the same socket. Raises `RequestRefused`, `NoAnswer`
        after `timeout_s`, `Stopped`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    link = await self.linked()
                    try:
                        if before is not None:
                            await before(link)
                        return await link.ask(make, believe)
                    except LinkLost:
                        self.lose(link)
        except TimeoutError:
            raise NoAnswer(f"no answer within {timeout_s:g} s") from None

    def lose(self, link: Link) -> None:
        """The link turned out to be lost: wait for another one from now on."""
        if self._link is link:
            self._link = None
            self._turned.clear()

    async def _try_once(self) -> Ending:
        self._tries += 1
        try:
            token = await self._tokens.current()
        except NoToken as error:
            _log.warning("%s", error)
            return Ending(str(error))
        try:
            socket = await connect(
                self.url + _PATH,
                ssl=self._tls,
                subprotocols=[Subprotocol(self._codec.subprotocol)],
                compression=None,
                ping_interval=None,
                open_timeout=_WELCOME_WITHIN_S,
                close_timeout=_GOODBYE_WITHIN_S,
            )
        except InvalidStatus as refused:
            return Ending(str(refused), http_status=refused.response.status_code)
        except (OSError, TimeoutError, InvalidHandshake) as error:
            return Ending(f"cannot connect: {error}")
        link = Link(socket, self._codec)
        try:
            return await self._serve(link, socket, token)
        finally:
            self.lose(link)
            await link.close()

    async def _serve(self, link: Link, socket: ClientConnection, token: str) -> Ending:
        welcomed_ms: int | None = None
        code: int | None = None
        try:
            sent_ms = self._now_ms()
            welcome = await self._meet(link, token)
            welcomed_ms = self._now_ms()
            # Halfway between hello and welcome, as NTP does.
            offset_ms = welcome.server_time_ms - (sent_ms + welcomed_ms) // 2
            await self._session.welcomed(welcome, offset_ms, link)
            self._link = link
            self._turned.set()
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
            reason = f"the server sent bytes that are no message: {error}"
        lasted_ms = 0 if welcomed_ms is None else self._now_ms() - welcomed_ms
        return Ending(reason, code or _LOST, lasted_ms=lasted_ms)

    async def _meet(self, link: Link, token: str) -> Welcome:
        await link.send(self._session.hello(token))
        async with asyncio.timeout(_WELCOME_WITHIN_S):
            while True:
                message = await link.receive(within_s=_WELCOME_WITHIN_S)
                if isinstance(message, Welcome):
                    return message
                if message is not None:
                    await self._session.received(message, link)

    async def _take(self, message: ServerMessage, link: Link) -> None:
        if isinstance(message, Ping):
            await link.send(Pong())
        elif isinstance(message, AuthExpiring):
            renewal = asyncio.create_task(self._renew(link))
            self._renewals.add(renewal)
            renewal.add_done_callback(self._renewals.discard)
        elif isinstance(message, Drain):
            self._policy.drained(message.reconnect_after_ms, self._now_ms())
        await self._session.received(message, link)

    async def _renew(self, link: Link) -> None:
        """Tell a fresh token. When that fails the server closes with 4005, and we come back."""
        if not self._tokens.renewable:
            return
        try:
            token = await self._tokens.fresh()
            await link.ask(lambda request_id: Auth(request_id, token), lambda _reply: None)
        except ClientError as error:
            _log.warning("the token was not renewed: %s", error)


def socket_url(url: str) -> str:
    """The address for sockets of an engine that is named by either of its addresses.

    Raises `ValueError` for an address of another kind: no retry would ever mend it.
    """
    scheme, separator, rest = url.rstrip("/").partition("://")
    scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
    if scheme not in {"ws", "wss"} or not separator or not rest:
        raise ValueError(f"{url!r} is no address of an engine: ws://HOST:PORT or http://HOST:PORT")
    return f"{scheme}://{rest}"
