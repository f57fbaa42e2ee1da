"""One open socket: sends and receives messages, and matches answers with requests."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from typing import Final

from msgspec import UNSET
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from mallard_client.errors import LinkLost, RequestRefused
from mallard_protocol.codec import BadFrame, Codec
from mallard_protocol.messages import ClientMessage, Error, Reply, ServerMessage

_log = getLogger(__name__)

MakeRequest = Callable[[int], ClientMessage]
OnReply = Callable[[Reply], object]
OnRefusal = Callable[[RequestRefused], object]

# The most requests that are remembered, as an answer is processed even after its call has ended.
_MAX_WAITING: Final = 256


@dataclass(frozen=True, slots=True)
class Liveness:
    """When a client checks its socket, in seconds.

    After `answer_s` without an answer to a request, or `idle_s` without any frame, it sends a ping;
    if nothing is received within `pong_s`, the socket is half-open and the client cuts it. So a
    dead socket is detected well within the 30 s that an offer lives.
    """

    answer_s: float = 5.0
    idle_s: float = 10.0
    pong_s: float = 8.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        if min(self.answer_s, self.idle_s, self.pong_s) <= 0:
            raise ValueError("each time must be over 0")


@dataclass(slots=True, eq=False)
class _Waiting:
    answer: asyncio.Future[Reply]
    make: MakeRequest
    on_reply: OnReply
    on_refusal: OnRefusal
    abandoned: bool = False


class Link:
    """A socket after its handshake. It ends by `LinkLost` and is not used again."""

    def __init__(self, socket: ClientConnection, codec: Codec, liveness: Liveness) -> None:
        self._socket = socket
        self._codec = codec
        self._liveness = liveness
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._frames = 0
        self._received = asyncio.Event()
        self._suspected = asyncio.Event()
        self._check: asyncio.Task[bool] | None = None
        self._over = False

    async def send(self, message: ClientMessage) -> None:
        """Send a message that has no answer. Raises `LinkLost`."""
        try:
            await self._socket.send(self._codec.encode(message))
        except ConnectionClosed as closed:
            raise LinkLost(str(closed)) from closed

    async def ask(
        self, make: MakeRequest, on_reply: OnReply, on_refusal: OnRefusal = lambda _refusal: None
    ) -> Reply:
        """Send a request and wait for its reply. Raises `RequestRefused`, `LinkLost`.

        The engine may have acted on a request even if this call is cancelled. So the callbacks run
        in that case, too.

        Args:
            make: Returns the message of a request id.
            on_reply: Called with the reply as soon as it is read, before any later message.
            on_refusal: Called likewise with a refusal.
        """
        request_id = next(self._ids)
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(answer, make, on_reply, on_refusal)
        self._remember(request_id, waiting)
        try:
            await self.send(make(request_id))
            while not (await asyncio.wait([answer], timeout=self._liveness.answer_s))[0]:
                await self.check()
            return answer.result()
        finally:
            waiting.abandoned = True

    async def ask_again(self) -> None:
        """Repeat every pending request under its id, as the engine may have lost it.

        Raises `LinkLost`.
        """
        for request_id, waiting in tuple(self._waiting.items()):
            if not waiting.abandoned:
                await self.send(waiting.make(request_id))

    async def receive(self, *, within_s: float) -> ServerMessage | None:
        """Wait for the next message; None for one that this version does not understand.

        An answer is passed to the call that awaits it. Raises `ConnectionClosed`, `TimeoutError`,
        and `UndecodableFrame` for bytes that are not a message.
        """
        async with asyncio.timeout(within_s):
            data = await self._socket.recv()
        self._frames += 1
        self._received.set()
        try:
            message = self._codec.decode_server(data)
        except BadFrame:  # a known type with fields of a later version
            return None
        if isinstance(message, Reply | Error) and message.id is not None:
            self._settle(message.id, message)
        return message

    async def watch(self) -> None:
        """Check the socket whenever it was idle for too long, until it ends."""
        try:
            while True:
                frames = self._frames
                try:
                    async with asyncio.timeout(self._liveness.idle_s):
                        await self._suspected.wait()
                except TimeoutError:
                    if self._frames != frames:
                        continue
                self._suspected.clear()
                await self.check()
        except LinkLost:
            return

    def suspect(self) -> None:
        """Check the socket now, as the network has changed."""
        self._suspected.set()

    async def check(self) -> None:
        """Check that the server responds; cut the socket if it does not. Raises `LinkLost`."""
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._is_answered())
        if not await asyncio.shield(self._check) or self._over:
            raise LinkLost("the socket ended")

    async def close(self) -> None:
        """Close the socket and fail every pending request with `LinkLost`."""
        self._end()
        await self._socket.close()

    def abort(self) -> None:
        """Cut the connection without a close frame, as a device that loses its network does."""
        self._end()
        self._socket.transport.abort()

    async def _is_answered(self) -> bool:
        self._received.clear()
        try:
            async with asyncio.timeout(self._liveness.pong_s):
                pong = asyncio.ensure_future(await self._socket.ping())
                pong.add_done_callback(self._note_pong)
                await self._received.wait()
        except TimeoutError:
            _log.info("no answer on the socket: it is half-open")
            self.abort()
            return False
        except ConnectionClosed:
            return False
        return True

    def _note_pong(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled():
            pong.exception()  # the socket ended, which is handled elsewhere
        self._received.set()

    def _end(self) -> None:
        """End every pending wait."""
        self._over = True
        self._received.set()
        self._suspected.set()
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                _fail(waiting.answer, LinkLost("the socket ended"))
        self._waiting.clear()

    def _remember(self, request_id: int, waiting: _Waiting) -> None:
        self._waiting[request_id] = waiting
        if len(self._waiting) > _MAX_WAITING:
            oldest = next((old for old, one in self._waiting.items() if one.abandoned), None)
            if oldest is not None:
                del self._waiting[oldest]

    def _settle(self, request_id: int, answer: Reply | Error) -> None:
        waiting = self._waiting.pop(request_id, None)
        if waiting is None or waiting.answer.done():
            return
        if isinstance(answer, Reply):
            waiting.on_reply(answer)
            waiting.answer.set_result(answer)
        else:
            refusal = RequestRefused(
                answer.code,
                answer.message,
                retry=answer.retry,
                missing=answer.missing or (),
                tries_left=None if answer.tries_left is UNSET else answer.tries_left,
            )
            waiting.on_refusal(refusal)
            _fail(waiting.answer, refusal)


def _fail(answer: asyncio.Future[Reply], error: Exception) -> None:
    """Fail a future; retrieve the exception, so that one without a caller logs no warning."""
    answer.set_exception(error)
    answer.exception()
