"""One open socket: messages out, messages in, each request matched with its answer."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from clients.errors import LinkLost, RequestRefused
from protocol.codec import BadFrame, Codec
from protocol.messages import ClientMessage, Error, Reply, ServerMessage

MakeRequest = Callable[[int], ClientMessage]
Believe = Callable[[Reply], object]


@dataclass(slots=True, eq=False)
class _Waiting:
    answer: asyncio.Future[Reply]
    believe: Believe


class Link:
    """A socket after its handshake. It ends by `LinkLost` and is not used again."""

    def __init__(self, socket: ClientConnection, codec: Codec) -> None:
        self._socket = socket
        self._codec = codec
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}

    async def send(self, message: ClientMessage) -> None:
        """Send a message that has no answer. Raises `LinkLost`."""
        try:
            await self._socket.send(self._codec.encode(message))
        except ConnectionClosed as closed:
            raise LinkLost(str(closed)) from closed

    async def ask(self, make: MakeRequest, believe: Believe) -> Reply:
        """Send a request and wait for its reply. Raises `RequestRefused`, `LinkLost`.

        `make` gets the request's id. `believe` sees the reply as soon as it is read, so before any
        message that was sent after it.
        """
        request_id = next(self._ids)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), believe)
        self._waiting[request_id] = waiting
        try:
            await self.send(make(request_id))
            return await waiting.answer
        finally:
            self._waiting.pop(request_id, None)

    async def receive(self, *, within_s: float) -> ServerMessage | None:
        """Wait for the next message; None for one that this version does not understand.

        An answer has gone to whoever waits for it. Raises `ConnectionClosed`, `TimeoutError`, and
        `UndecodableFrame` for bytes that are no message at all.
        """
        async with asyncio.timeout(within_s):
            data = await self._socket.recv()
        try:
            message = self._codec.decode_server(data)
        except BadFrame:  # of a type that we know, with fields of a later version
            return None
        if isinstance(message, Reply | Error) and message.id is not None:
            self._settle(message.id, message)
        return message

    async def close(self) -> None:
        """Say goodbye and fail every waiting request with `LinkLost`."""
        self._fail_waiting()
        await self._socket.close()

    def abort(self) -> None:
        """Cut the connection without a goodbye, as a phone in a lift does."""
        self._fail_waiting()
        self._socket.transport.abort()

    def _settle(self, request_id: int, answer: Reply | Error) -> None:
        waiting = self._waiting.pop(request_id, None)
        if waiting is None or waiting.answer.done():
            return
        if isinstance(answer, Reply):
            waiting.believe(answer)
            waiting.answer.set_result(answer)
        else:
            refusal = RequestRefused(answer.code, answer.message, retry=answer.retry)
            waiting.answer.set_exception(refusal)

    def _fail_waiting(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(LinkLost("the socket ended"))
        self._waiting.clear()
