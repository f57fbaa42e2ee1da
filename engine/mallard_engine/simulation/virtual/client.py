"""The Redis connection of a simulation.

All calls of one turn of the loop are sent in one write, as on the live connection; then it blocks
for all replies, as nothing else can happen meanwhile.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from mallard_engine.ports import StoreUnavailable
from mallard_engine.simulation.virtual.loop import VirtualLoop
from mallard_engine.storage.client.address import Address
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.connection import Command
from mallard_engine.storage.client.errors import reply_error

_pack: Callable[..., bytes] = hiredis.pack_command
_INCOMPLETE = object()
_OF_THE_STORE = object()
_READ_BYTES = 1 << 20
_DEADLINE_S = 60.0


class TurnLink(Link):
    """A `Link` for a `VirtualLoop`, on one blocking socket."""

    def __init__(self, url: str, handshake: Sequence[Command] = ()) -> None:
        self._server = Address.parse(url)
        super().__init__(self._server)
        self._handshake = [*self._server.introduction("mallard-simulation"), *handshake]
        self._socket: socket.socket | None = None
        self._parser = hiredis.Reader(replyError=reply_error, notEnoughData=_INCOMPLETE)
        self._unsent: list[bytes] = []
        # The waiters of this turn in order; some wait for a reply that is known already.
        self._asked: list[tuple[asyncio.Future[Any], Any]] = []
        self._watched: list[bytes] = []
        self._seen: list[Any] = []
        self.calls = 0

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._socket is not None

    async def connect(self) -> None:
        """Open the connection. Raises `StoreUnavailable`."""
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise TypeError("this connection needs a virtual loop")
        try:
            if self._server.path:
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.settimeout(_DEADLINE_S)
                self._socket.connect(self._server.path)
            else:
                where = (self._server.host, self._server.port)
                self._socket = socket.create_connection(where, timeout=_DEADLINE_S)
        except OSError as error:
            raise StoreUnavailable(f"the store at {self.address}: {error}") from error
        loop.exchange = self.exchange
        await asyncio.gather(*(self.call(*command) for command in self._handshake))

    async def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def call(self, *command: str | bytes | float) -> Any:
        """See `Link.call`; the reply comes with those of this turn."""
        if self._socket is None:
            raise StoreUnavailable("the connection is closed")
        self._unsent.append(_pack(command))
        return await self._with_this_turn(_OF_THE_STORE)

    async def answer(self, reply: Any) -> Any:
        """Return a known reply at the time when Redis's reply would have come."""
        return await self._with_this_turn(reply)

    def watch(self, *commands: Command) -> None:
        """Send these read-only commands with every exchange; `seen` returns their replies."""
        self._watched = [_pack(command) for command in commands]
        self._seen = []

    def seen(self) -> list[Any] | None:
        """Return the replies to the watched commands; None if a command was sent since."""
        return self._seen if self._seen and not self._unsent else None

    async def _with_this_turn(self, reply: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.append((future, reply))
        return await future

    def exchange(self) -> bool:
        """Send the calls of this turn and settle their replies; return whether there were any.

        Raises:
            StoreUnavailable: The connection broke, which ends the simulation.
        """
        if not self._asked or self._socket is None:
            return False
        asked, self._asked = self._asked, []
        unsent, self._unsent = self._unsent, []
        self.calls += len(unsent)
        try:
            if unsent:
                self._socket.sendall(b"".join(unsent + self._watched))
            for future, known in asked:
                _settle(future, self._next_reply() if known is _OF_THE_STORE else known)
            if unsent:
                self._seen = [self._next_reply() for _ in self._watched]
        except OSError as error:
            raise StoreUnavailable(f"the store at {self.address}: {error}") from error
        return True

    def _next_reply(self) -> Any:
        while (reply := self._parser.gets()) is _INCOMPLETE:
            if self._socket is None or not (data := self._socket.recv(_READ_BYTES)):
                raise StoreUnavailable("the store closed the connection")
            self._parser.feed(data)
        return reply


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)
