"""The engine's line to Redis: one connection, pipelined by itself, that mends itself.

A call costs some microseconds of our CPU, against some tens for a pooled client's. What it does not
do is repeat a call whose outcome is unknown: that is for the caller, who knows the fence.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from engine.ports import StoreUnavailable
from engine.store.address import Address
from engine.store.errors import LinkReplyError
from engine.store.wire import Command, Wire

_log = structlog.get_logger(__name__)

_FIRST_RETRY_S = 0.05
_LAST_RETRY_S = 2.0


class Link:
    """A line to one Redis. Build it, `connect` it inside a running loop, `close` it at the end.

    `deadline_s`: a call that has no reply by then fails with `StoreTimeout`, and the connection is
    cut, since the replies behind it would be late as well. `max_waiting`: more calls than this at
    once are refused, with `StoreUnavailable`, before they are sent; a call made while the line is
    down waits for it until its deadline. `greeting`: commands sent on every new connection before
    any call. `on_up` and `on_down` are called at each change.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str = "mallard",
        deadline_s: float = 5.0,
        max_waiting: int = 10_000,
        greeting: Sequence[Command] = (),
        on_up: Callable[[], None] | None = None,
        on_down: Callable[[], None] | None = None,
    ) -> None:
        self.address = Address.parse(url)
        self._name = name
        self._deadline_s = deadline_s
        self._max_waiting = max_waiting
        self._greeting = greeting
        self._on_up = on_up
        self._on_down = on_down
        self._wire: Wire | None = None
        self._changed = asyncio.Event()  # set while the line is up, or closed for good
        self._held = 0
        self._closed = False
        self._down_since: float | None = None
        self._mending: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether calls go through now."""
        return self._wire is not None

    @property
    def down_since(self) -> float | None:
        """The loop's time at which the line broke; None while it is up or was never connected."""
        return self._down_since

    async def connect(self) -> None:
        """Open the line. Raises `StoreUnavailable`; `LinkReplyError` for a wrong password."""
        await self._open()

    async def close(self) -> None:
        """Hang up. Calls that still wait fail with `StoreUnavailable`."""
        self._closed = True
        self._changed.set()
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.wait({self._mending})
        if self._wire is not None:
            self._wire.cut(StoreUnavailable("the link was closed"))
            self._wire = None

    async def call(self, *command: str | bytes | float) -> Any:
        """Send a command and return its reply: bytes, an int, None, or a list of these.

        Raises `LinkReplyError` for an error reply, `StoreTimeout`, `StoreUnavailable`.
        """
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        wire = self._wire or await self._wire_by(deadline)
        if wire.waiting >= self._max_waiting:
            raise StoreUnavailable(f"{wire.waiting} calls are waiting for the store already")
        return await wire.send(command, deadline)

    async def _wire_by(self, deadline: float) -> Wire:
        """Wait for the line to be up again."""
        if self._held >= self._max_waiting:
            raise StoreUnavailable(f"{self._held} calls are waiting for the store already")
        self._held += 1
        try:
            async with asyncio.timeout_at(deadline):
                while self._wire is None and not self._closed:
                    await self._changed.wait()
        except TimeoutError:
            raise StoreUnavailable(f"the store at {self.address} is not reachable") from None
        finally:
            self._held -= 1
        if self._wire is None:
            raise StoreUnavailable("the link was closed")
        return self._wire

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._deadline_s):
                wire = await self.address.open(lambda: Wire(self._lost))
                try:
                    await self._greet(wire)
                except BaseException:
                    wire.cut(StoreUnavailable("the store refused the connection"))
                    raise
        except TimeoutError:
            raise StoreUnavailable(f"the store at {self.address} did not answer") from None
        except OSError as error:
            raise StoreUnavailable(f"the store at {self.address}: {error}") from error
        self._wire = wire
        self._down_since = None
        self._changed.set()
        if self._on_up:
            self._on_up()

    async def _greet(self, wire: Wire) -> None:
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        commands = [*self.address.introduction(self._name), *self._greeting]
        replies = await asyncio.gather(
            *(wire.send(command, deadline) for command in commands),
            return_exceptions=True,
        )
        for command, reply in zip(commands, replies, strict=True):
            # A user who may not name connections loses the name, no more.
            if isinstance(reply, BaseException) and command[:2] != ("CLIENT", "SETNAME"):
                raise reply
        if wire.lost:
            raise StoreUnavailable("the connection broke at once")

    def _lost(self, wire: Wire, reason: StoreUnavailable) -> None:
        if wire is not self._wire or self._closed:
            return
        _log.warning("store link down", store=str(self.address), reason=str(reason))
        loop = asyncio.get_running_loop()
        self._wire = None
        self._changed.clear()
        self._down_since = loop.time()
        self._mending = loop.create_task(self._mend())
        if self._on_down:
            self._on_down()

    async def _mend(self) -> None:
        for delay_s in _retry_delays_s():
            await asyncio.sleep(delay_s)
            try:
                await self._open()
            except (StoreUnavailable, LinkReplyError) as error:
                _log.debug("store link still down", store=str(self.address), reason=str(error))
            else:
                _log.info("store link up", store=str(self.address))
                return


def _retry_delays_s() -> Iterator[float]:
    for attempt in itertools.count():
        longest_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2 ** min(attempt, 16))
        yield longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is not a secret
