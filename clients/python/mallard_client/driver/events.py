"""Events that a driver client sends to its app, besides the engine's messages."""

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from inspect import isawaitable
from logging import getLogger

from mallard_client.driver.state import HeldJob, Push
from mallard_client.errors import RequestRefused, Stopped
from mallard_protocol.lifecycle import Step, Wish
from mallard_protocol.messages import Barred, Drain, Error, Pace, Reply, Welcome

_log = getLogger(__name__)

_MAX_UNREAD = 1_000


@dataclass(frozen=True, slots=True)
class Connecting:
    """A socket is being opened; `attempt` counts from 1 since the last welcome."""

    url: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Connected:
    """A socket is open and welcomed."""

    url: str
    session: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A socket ended, or could not be opened; the client retries by itself.

    `code`: the close code (1006 for a lost link), `http_status`: that of a refused handshake.
    """

    reason: str
    reconnecting_in_s: float
    code: int | None = None
    http_status: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event: the client has stopped for good (or until `start`)."""

    reason: Stopped


@dataclass(frozen=True, slots=True)
class TokenTrouble:
    """The token expires and the provider has no other one; the client asks again after a pause."""

    reason: str


@dataclass(frozen=True, slots=True)
class DriverChanged:
    """The driver's shown state, or the reason why it gets no offers, has changed."""

    state: str
    barred: Barred | None


@dataclass(frozen=True, slots=True)
class JobsChanged:
    """The jobs that the driver holds, or their states, have changed."""

    jobs: tuple[HeldJob, ...]


@dataclass(frozen=True, slots=True)
class ReportSettled:
    """The engine took a report (`reply`) or refused it for good (`refusal`)."""

    job: str
    attempt: int
    step: Step
    reply: Reply | None
    refusal: RequestRefused | None


@dataclass(frozen=True, slots=True)
class WishRefused:
    """The client repeated the wanted status after an absence, and the engine refused it."""

    wish: Wish
    refusal: RequestRefused


Lifecycle = (
    Connecting
    | Connected
    | Disconnected
    | Ended
    | TokenTrouble
    | DriverChanged
    | JobsChanged
    | ReportSettled
    | WishRefused
)
Event = Lifecycle | Welcome | Push | Error | Drain | Pace
Listener = Callable[[Event], object]


class EventStream:
    """An async iterator over events, from its creation on; it ends after `Ended`.

    At most 1,000 events wait for a slow reader; then the oldest are dropped.
    """

    def __init__(self, kinds: tuple[type, ...], *, ended: bool) -> None:
        self._kinds = kinds
        self._events: deque[Event] = deque(maxlen=_MAX_UNREAD)
        self._turned = asyncio.Event()
        self._ended = ended
        self.dropped = 0

    def __aiter__(self) -> "EventStream":
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._ended:
                raise StopAsyncIteration
            self._turned.clear()
            await self._turned.wait()
        return self._events.popleft()

    def close(self) -> None:
        """Unsubscribe; a pending read ends."""
        self._ended = True
        self._turned.set()

    def emit(self, event: Event) -> None:
        """Keep an event for the reader."""
        if self._ended:
            return
        if not self._kinds or isinstance(event, self._kinds):
            self.dropped += len(self._events) == _MAX_UNREAD
            self._events.append(event)
            self._turned.set()
        if isinstance(event, Ended):
            self.close()


class Announcer:
    """Passes events to listeners and streams; an exception in one does not affect the others."""

    def __init__(self) -> None:
        self._listeners: dict[object, tuple[Listener, tuple[type, ...]]] = {}
        self._streams: weakref.WeakSet[EventStream] = weakref.WeakSet()
        self._running: set[asyncio.Future[object]] = set()

    def listen(self, listener: Listener, kinds: tuple[type, ...]) -> Callable[[], None]:
        """Call `listener` with each event of these kinds (none: all); return how to unsubscribe."""
        key = object()
        self._listeners[key] = (listener, kinds)

        def leave() -> None:
            self._listeners.pop(key, None)

        return leave

    def stream(self, kinds: tuple[type, ...], *, ended: bool) -> EventStream:
        """Return a stream of later events. It is dropped when no reference to it is left."""
        stream = EventStream(kinds, ended=ended)
        self._streams.add(stream)
        return stream

    def emit(self, event: Event) -> None:
        """Pass an event to every listener and stream."""
        for stream in tuple(self._streams):
            stream.emit(event)
        for listener, kinds in tuple(self._listeners.values()):
            if not kinds or isinstance(event, kinds):
                self._call(listener, event)

    def _call(self, listener: Listener, event: Event) -> None:
        try:
            outcome = listener(event)
        except (Exception, asyncio.CancelledError):
            _log.exception("a listener failed with %s", type(event).__name__)
            return
        if isawaitable(outcome):
            running = asyncio.ensure_future(outcome)
            self._running.add(running)
            running.add_done_callback(self._note_end)

    def _note_end(self, running: asyncio.Future[object]) -> None:
        self._running.discard(running)
        if not running.cancelled() and (error := running.exception()) is not None:
            _log.error("a listener failed", exc_info=error)
