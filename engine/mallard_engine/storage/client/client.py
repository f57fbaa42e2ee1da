"""The engine's connection to one Redis server: pipelined automatically, and it reconnects.

A call costs some microseconds of our CPU, against some tens for a pooled client. It does not repeat
a call whose outcome is unknown: that is up to the caller, who knows the fence.

A connection that is down refuses calls at once, so that nothing queues behind an absent server. A
heartbeat detects a silent server (stopped, or cut off) within 1.3 s even without calls. A replica
is refused on connecting, and disconnected when it replies `READONLY` or another server has taken
over: the next attempt resolves the address again and may find the new master.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypedDict

import structlog

from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.address import Address, Way
from mallard_engine.storage.client.connection import SILENCE_S, Command, Wire, time_limit
from mallard_engine.storage.client.errors import LinkReplyError, StoreNotReady, StoreTimeout
from mallard_engine.tasks import cancel, turn

_log = structlog.get_logger(__name__)
_often = RateLimitedLog(_log, interval_s=10.0)

_FIRST_RETRY_S = 0.05
# The longest pause between attempts at the beginning of an outage, and later.
_YOUNG_RETRY_S = 0.25
_LAST_RETRY_S = 2.0
_YOUNG_S = 30.0
# How long one attempt may take: on a busy machine a TLS handshake alone may take seconds.
_ATTEMPT_S = 8.0
# After this time a second attempt starts while the first one goes on: a lost SYN is sent again
# only after a second, and another server may have taken over meanwhile.
_BESIDE_S = 1.0
# How long calls wait for a connection that was just begun, and loads the scripts.
_FIRST_GRACE_S = 1.0
# How long an idle connection collects the calls of a turn of periodic work (see `tasks.turn`).
_COLLECTS_S: Final = 0.002
# Commands that a restricted user need not be allowed.
_OPTIONAL = frozenset({"CLIENT", "ROLE"})
_ROLES = {b"slave": "replica"}
_TAKEN_OVER = "another server has taken over"
_OPENINGS = itertools.count(1)
# A connection, and what its address said of failovers before it was opened.
_Opened = tuple[Wire, int]


class LinkOptions(TypedDict, total=False):
    """The arguments of a `Link` besides the address."""

    name: str
    deadline_s: float
    silence_s: float
    heartbeat_s: float
    grace_s: float
    max_waiting: int
    master_only: bool
    handshake: Sequence[Command]
    on_up: Callable[[], None] | None
    on_down: Callable[[], None] | None


class Link:
    """A connection to one Redis. Call `connect` inside a running loop, and `close` at the end.

    Args:
        way: The address, or the URL of one server.
        name: The connection's name, for CLIENT LIST.
        deadline_s: A call without a reply by then fails with `StoreTimeout`, and the connection is
            cut, because later replies would be late as well.
        silence_s: The same after this long without input while calls wait.
        heartbeat_s: Interval of pings on an idle connection. At these moments it collects calls for
            2 ms, which replace the ping.
        grace_s: How long calls wait for the next connection after one broke. Later, and after a
            silence, they are refused at once.
        max_waiting: How many calls may wait; more are refused with `StoreUnavailable` unsent.
        master_only: Whether to refuse a replica.
        handshake: Commands that are sent on every new connection: on the first one before any call,
            later between the calls.
        on_up: Called when a connection is open.
        on_down: Called when a connection has broken.
    """

    def __init__(
        self,
        way: Way | str,
        *,
        name: str = "mallard",
        deadline_s: float = 2.0,
        silence_s: float = SILENCE_S,
        heartbeat_s: float = 0.25,
        grace_s: float = 0.5,
        max_waiting: int = 10_000,
        master_only: bool = True,
        handshake: Sequence[Command] = (),
        on_up: Callable[[], None] | None = None,
        on_down: Callable[[], None] | None = None,
    ) -> None:
        self.address: Way = Address.parse(way) if isinstance(way, str) else way
        # The number of the current connection: no other connection of this process has it. Replies
        # that were pending under another number may be lost.
        self.opening = 0
        self._name = name
        self._deadline_s = deadline_s
        self._silence_s = silence_s
        self._heartbeat_s = heartbeat_s
        self._grace_s = grace_s
        self._max_waiting = max_waiting
        self._master_only = master_only
        self._handshake = handshake
        self._on_up = on_up
        self._on_down = on_down
        self._wire: Wire | None = None
        self._changed = asyncio.Event()  # set while connected, and after `close`
        self._heartbeat: asyncio.Future[None] | None = None
        # Why there is no connection, and until when calls wait for the next one.
        self._why = "not connected yet"
        self._grace_until = 0.0
        self._held = 0
        self._closed = False
        self._down_since: float | None = None
        self._reconnecting: asyncio.Task[None] | None = None
        # The number of failovers when the connection was opened, and the tasks that read it now.
        self._failovers = 0
        self._asking: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether calls are sent now."""
        return self._wire is not None

    @property
    def peer(self) -> object:
        """The address of the server that is connected, as the kernel has it; None: none is."""
        return None if self._wire is None else self._wire.peer

    @property
    def down_since(self) -> float | None:
        """When the connection broke (seconds of the event loop); None if it is up or never was."""
        return self._down_since

    @property
    def is_away(self) -> bool:
        """Whether calls are refused at once: the connection is down for longer than `grace_s`."""
        return not self.connected and asyncio.get_running_loop().time() >= self._grace_until

    @property
    def why_down(self) -> str:
        """Why the last connection, or the last attempt to connect, failed."""
        return self._why

    async def connect(self) -> None:
        """Open the connection. Raises `StoreUnavailable`, or `LinkReplyError` of the handshake."""
        try:
            wire, failovers = await self._attempt(self._handshake)
        except StoreUnavailable as error:
            if isinstance(error, LinkReplyError):
                raise
            raise StoreUnavailable(f"the store at {self.address}: {error}") from error
        if self._closed:
            wire.cut(StoreUnavailable("the link was closed"))
            raise StoreUnavailable("the link was closed")
        self._use(wire, failovers)
        self._beat_later()

    def start(self) -> None:
        """Begin to connect: calls wait for up to a second, and attempts continue until `close`."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        self._grace_until = loop.time() + _FIRST_GRACE_S
        self._down_since = loop.time()
        self._reconnecting = loop.create_task(self._reconnect(0.0))
        self._beat_later()

    async def close(self) -> None:
        """Close the connection. Waiting calls fail with `StoreUnavailable`."""
        self._closed = True
        self._changed.set()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        await cancel(self._reconnecting, *self._asking)
        if self._wire is not None:
            self._wire.cut(StoreUnavailable("the link was closed"))
            self._wire = None

    async def call(self, *command: str | bytes | float) -> Any:
        """Send a command and return its reply: bytes, an int, None, or a list of these.

        Raises `LinkReplyError` for an error reply, `StoreTimeout`, `StoreUnavailable`.
        """
        wire = self._wire or await self._next_wire()
        if wire.waiting >= self._max_waiting:
            raise StoreUnavailable(f"{wire.waiting} calls are already waiting for the store")
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        try:
            return await wire.send(command, deadline)
        except StoreNotReady as error:
            if error.condition.hang_up:
                self._hang_up(wire, str(error))
                if self.address.moves and error.condition.elsewhere:
                    # It had no effect, and the next connection leads to the new master.
                    return await (await self._next_wire()).send(command, deadline)
            raise

    async def call_all(self, *commands: Command) -> Sequence[Any]:
        """Send commands, each directly after the one before, and return all replies."""
        wire = self._wire or await self._next_wire()
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        sent = [wire.send(command, deadline) for command in commands]
        replies = await asyncio.gather(*sent, return_exceptions=True)
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return replies

    async def call_asking(self, *command: str | bytes | float) -> Any:
        """Like `call`, for a slot that this server is still taking over: see `ASK`."""
        # The server applies ASKING to the next command.
        return (await self.call_all(("ASKING",), command))[1]

    def link_of(self, key: str) -> "Link":  # noqa: ARG002 - the signature of `ClusterLink.link_of`
        """Return the connection that has this key."""
        return self

    def primaries(self) -> tuple["Link", ...]:
        """Return the connections to all servers that take writes."""
        return (self,)

    async def _next_wire(self) -> Wire:
        """Wait up to `grace_s` for the next connection. Raises `StoreUnavailable` after that."""
        if self._held >= self._max_waiting:
            raise StoreUnavailable(f"{self._held} calls are already waiting for the store")
        if asyncio.get_running_loop().time() < self._grace_until:
            self._held += 1
            try:
                async with asyncio.timeout_at(self._grace_until):
                    while self._wire is None and not self._closed:
                        await self._changed.wait()
            except TimeoutError:
                pass
            finally:
                self._held -= 1
        if self._closed:
            raise StoreUnavailable("the link was closed")
        if self._wire is None:
            raise StoreUnavailable(f"the store at {self.address} cannot be reached: {self._why}")
        return self._wire

    def _beat_later(self) -> None:
        self._heartbeat = turn(self._heartbeat_s, first=True)
        self._heartbeat.add_done_callback(self._beat)

    def _beat(self, due: asyncio.Future[None]) -> None:
        """Ping an idle connection, so that a silent server is detected."""
        if due.cancelled() or self._closed:
            return
        loop = asyncio.get_running_loop()
        self._beat_later()
        if self._wire is not None and self.address.asks:
            # Beside one that still waits: the Sentinel that it asked first may know more by now.
            asking = loop.create_task(self._ask(self._wire))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        if self._wire is not None and not self._wire.waiting:
            # Periodic work makes its calls now. Each would be a write, and wake an idle Redis.
            self._wire.collect()
            loop.call_later(_COLLECTS_S, self._probe, self._wire)

    def _probe(self, wire: Wire) -> None:
        """Send the calls that were collected; a ping if there are none."""
        if not wire.waiting:
            with contextlib.suppress(StoreUnavailable):  # it has just ended; `_lost` is next
                deadline = asyncio.get_running_loop().time() + self._deadline_s
                wire.send(("PING",), deadline).add_done_callback(_ignore)
        wire.flush()

    async def _ask(self, wire: Wire) -> None:
        """Cut a connection if another server has taken over: this one may still take writes."""
        if await self.address.failovers() != self._failovers and wire is self._wire:
            self._hang_up(wire, _TAKEN_OVER)

    async def _attempt(self, handshake: Sequence[Command] = ()) -> _Opened:
        wire: Wire | None = None
        try:
            async with time_limit(_ATTEMPT_S):
                wire, failovers = await self.address.open(
                    lambda: Wire(self._lost, silence_s=_ATTEMPT_S)
                )
                await self._shake_hands(wire, handshake, failovers)
                return wire, failovers
        except BaseException as error:
            if wire is not None:
                wire.cut(StoreUnavailable("the connection was not opened"))
            if isinstance(error, TimeoutError):
                raise StoreUnavailable("no connection in time") from None
            if isinstance(error, OSError):
                raise StoreUnavailable(str(error)) from error
            raise

    def _use(self, wire: Wire, failovers: int) -> None:
        """Send calls on a connection from now on."""
        wire.watch(self._silence_s)
        self._wire, self._failovers = wire, failovers
        self.opening = next(_OPENINGS)
        self._down_since = None
        self._changed.set()
        if self._on_up:
            self._on_up()

    def _continue_handshake(self, wire: Wire, rest: Iterator[Command]) -> None:
        """Send the next command of the handshake, and the others after it, between other calls.

        Calls do not wait for it: loading all scripts takes a tenth of a second, and after an outage
        drivers wait. A call whose script is missing brings it along.
        """
        command = next(rest, None)
        if command is None or wire.lost:
            return

        def go_on(reply: asyncio.Future[Any]) -> None:
            _ignore(reply)
            self._continue_handshake(wire, rest)

        deadline = asyncio.get_running_loop().time() + self._deadline_s
        wire.send(command, deadline).add_done_callback(go_on)

    async def _shake_hands(self, wire: Wire, handshake: Sequence[Command], failovers: int) -> None:
        deadline = asyncio.get_running_loop().time() + _ATTEMPT_S
        commands = [*self.address.introduction(self._name), ("ROLE",), *handshake]
        replies = await asyncio.gather(
            *(wire.send(command, deadline) for command in commands),
            return_exceptions=True,
        )
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, BaseException):
                if command[0] in _OPTIONAL and not _is_passing(reply):
                    continue
                raise reply
            if command == ("ROLE",) and self._master_only and reply[0] != b"master":
                raise StoreUnavailable(f"it is a {_ROLES.get(reply[0], 'sentinel')}")
        if wire.lost:
            raise StoreUnavailable("the connection broke at once")
        if failovers != self.address.known_failovers:
            # Found by another attempt: the server of this one may still take writes.
            raise StoreUnavailable(_TAKEN_OVER)

    def _hang_up(self, wire: Wire, reason: str) -> None:
        """End a connection: calls wait for the next one from now on."""
        wire.cut(StoreUnavailable(reason))
        # The transport reports its end only later.
        self._lost(wire, StoreUnavailable(reason))

    def _lost(self, wire: Wire, reason: StoreUnavailable) -> None:
        if wire is not self._wire or self._closed:
            return
        _log.warning("store link down", store=str(self.address), reason=str(reason))
        loop = asyncio.get_running_loop()
        self._wire = None
        self._why = str(reason)
        self._changed.clear()
        self._down_since = loop.time()
        # A silent server rarely returns within the grace period: refuse calls at once.
        is_silent = isinstance(reason, StoreTimeout)
        self._grace_until = 0.0 if is_silent else loop.time() + self._grace_s
        self._reconnecting = loop.create_task(self._reconnect())
        if self._on_down:
            self._on_down()

    async def _reconnect(self, delay_s: float = _FIRST_RETRY_S) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        attempts: set[asyncio.Task[_Opened]] = set()
        try:
            while not self._closed:
                pause_s = delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
                if self._use_one_of(await _ended(attempts, pause_s)):
                    return
                longest_s = _YOUNG_RETRY_S if clock() < began + _YOUNG_S else _LAST_RETRY_S
                delay_s = min(max(delay_s * 2, _FIRST_RETRY_S), longest_s)
                attempts.add(asyncio.create_task(self._attempt()))
                if self._use_one_of(await _ended(attempts, _BESIDE_S)):
                    return
        finally:
            await cancel(*attempts)
            for attempt in attempts:
                if not attempt.cancelled() and attempt.exception() is None:
                    attempt.result()[0].cut(StoreUnavailable("another attempt was first"))

    def _use_one_of(self, attempts: set[asyncio.Task[_Opened]]) -> bool:
        """Use a connection that was opened, if there is one."""
        is_found = False
        for attempt in attempts:
            try:
                wire, failovers = attempt.result()
            except (StoreUnavailable, LinkReplyError) as error:
                self._why = str(error)
                _often.error("store link still down", store=str(self.address), reason=self._why)
            except Exception as error:  # noqa: BLE001 - an outage must not end the attempts
                # The next attempt may succeed, whatever fails in this one.
                self._why = type(error).__name__
                _log.exception("store link: an attempt to connect failed")
            else:
                if is_found or wire.lost:
                    wire.cut(StoreUnavailable("another attempt was first"))
                    continue
                is_found = True
                _often.flush()
                _log.info("store link up", store=str(self.address))
                self._continue_handshake(wire, iter(self._handshake))
                self._use(wire, failovers)
        return is_found


async def _ended(
    attempts: set[asyncio.Task[_Opened]], within_s: float
) -> set[asyncio.Task[_Opened]]:
    """Remove attempts that have ended, and return them; wait for the first for some time."""
    if not attempts:
        await asyncio.sleep(within_s)
        return set()
    ended, _ = await asyncio.wait(attempts, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    attempts -= ended
    return ended


def _is_passing(error: BaseException) -> bool:
    """Whether a command failed because of Redis's condition, not for lack of permission."""
    return not isinstance(error, LinkReplyError) or (
        isinstance(error, StoreNotReady) and error.code != "NOPERM"
    )


def _ignore(future: asyncio.Future[Any]) -> None:
    """Retrieve the error of a reply that is not needed, so that it is not logged."""
    if not future.cancelled():
        future.exception()
