"""Structured logs for the console or as JSON, to standard error.

No code logs a token, a name, a contact, an address or a precise position. The redaction here is the
last line of defence against a mistake.
"""

import asyncio
import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
LogLevel = Literal["debug", "info", "warning", "error"]

# Beyond this many different lines per interval, lines are merged without their fields.
_MAX_LINES: Final = 64
_NO_FIELDS: Final[Mapping[str, Any]] = MappingProxyType({})
_LIBRARIES: Final = ("asyncio", "uvicorn", "websockets")
_MESSAGE_CHARS: Final = 60

_SECRET_KEYS = frozenset(
    {
        "address",
        "authorization",
        "body",
        "code",
        "contact",
        "customer",
        "dropoff",
        "fix",
        "fixes",
        "lat",
        "lon",
        "name",
        "note",
        "password",
        "pickup_code",
        "pin",
        "position",
        "proof",
        "query",
        "secret",
        "text",
        "token",
    }
)
# A JWT: three base64url parts, the first of which starts a JSON object.
_JWT = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")
_BEARER = re.compile(r"(?i)(bearer\s+)\S+")
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")


def configure_logging(
    log_format: Literal["console", "json"] = "console",
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """Set up structlog and the standard library's loggers. Call it once, at the start."""
    output = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    json = log_format == "json"
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(
            colors=output.isatty(),
            # The default formatter shows local variables: positions, addresses, tokens.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    # The console renders tracebacks itself; in JSON they are a field, redacted with the rest.
    first: list[Processor] = [structlog.processors.format_exc_info] if json else []
    last: list[Processor] = [] if json else [escape_unprintable]  # JSON escapes all of it
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *first,
                redact,
                *last,
                renderer,
            ],
        )
    )
    handler.addFilter(LibraryLimit())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # uvicorn logs each request and socket at `info`, with its path and query.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))
    # The HTTP client of the sandbox's robots logs each request at `info`.
    logging.getLogger("httpx2").setLevel(max(logging.WARNING, root.level))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Redact the fields and texts of an event that no log may hold."""
    return {key: _clean(key, value) for key, value in event.items()}


def escape_unprintable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what would control a terminal, or end the line, in the fields of an event.

    Fields may hold text of clients, such as the path of a request. The message is ours or a
    library's, and may have several lines.
    """
    return {
        key: _escaped(value) if isinstance(value, str) and key != "event" else value
        for key, value in event.items()
    }


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        it if it.isprintable() else it.encode("unicode_escape").decode("ascii") for it in text
    )


def _clean(key: str, value: Any) -> Any:
    if key.lower() in _SECRET_KEYS:
        return REDACTED
    if isinstance(value, dict):
        return {inner: _clean(str(inner), item) for inner, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", item) for item in value]
    if isinstance(value, str):
        return _clean_text(value)
    return value


def _clean_text(text: str) -> str:
    text = _JWT.sub(REDACTED, text)
    text = _BEARER.sub(rf"\1{REDACTED}", text)
    return _URL_PASSWORD.sub(rf"\1{REDACTED}@", text)


class RateLimitedLog:
    """Logs a frequent event at most once per `interval_s`, with a count.

    The first event is logged at once. Events within the interval are counted, and one line at its
    end has their number (`count`, omitted for one event). Events that differ in level, name or
    fields have separate lines, so pass few different values: a code or a reason, never an id. Use
    it for events that clients, or an outage of Redis, can cause many times a second.

        _refusals = RateLimitedLog(structlog.get_logger(__name__))
        _refusals.info("socket refused", reason="draining")

    The fields of `example`, such as an id or `exc_info`, do not distinguish events; only the line
    of a single event has them.

    In a thread without an event loop no line is written at the end of the interval: the next event
    writes it.
    """

    def __init__(
        self, log: Any, *, interval_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._log = log
        self._interval_s = interval_s
        self._clock = clock
        self._lines: dict[tuple[LogLevel, str, tuple[tuple[str, Any], ...]], _Line] = {}

    def info(self, event: str, **fields: Any) -> None:
        """Log or count an event at level `info`."""
        self.write("info", event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log or count an event at level `warning`."""
        self.write("warning", event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log or count an event at level `error`."""
        self.write("error", event, **fields)

    def write(
        self,
        level: LogLevel,
        event: str,
        *,
        example: Mapping[str, Any] = _NO_FIELDS,
        **fields: Any,
    ) -> None:
        """Log or count an event. The values of `fields` must be hashable."""
        now = self._clock()
        key = (level, event, tuple(fields.items()))
        if key not in self._lines and len(self._lines) >= _MAX_LINES:
            self._drop_idle(now)
            if len(self._lines) >= _MAX_LINES:
                key = (level, event, ())
        line = self._lines.setdefault(key, _Line())
        line.count += 1
        if now >= line.next_at:
            self._emit(key, line, now, example)
        elif line.timer is None:
            line.timer = _call_later(line.next_at - now, lambda: self._end_of_interval(key))

    def flush(self) -> None:
        """Log now what was counted: the trouble is over, and no later line may contradict that."""
        for key, line in self._lines.items():
            if line.count:
                self._emit(key, line, self._clock())

    def _end_of_interval(self, key: tuple[LogLevel, str, tuple[tuple[str, Any], ...]]) -> None:
        line = self._lines.get(key)
        if line is not None and line.count:
            self._emit(key, line, self._clock())

    def _emit(
        self,
        key: tuple[LogLevel, str, tuple[tuple[str, Any], ...]],
        line: "_Line",
        now: float,
        example: Mapping[str, Any] = _NO_FIELDS,
    ) -> None:
        level, event, fields = key
        more = {"count": line.count} if line.count > 1 else example
        line.count, line.next_at = 0, now + self._interval_s
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        getattr(self._log, level)(event, **dict(fields), **more)

    def _drop_idle(self, now: float) -> None:
        for key in [
            key for key, line in self._lines.items() if not line.count and now >= line.next_at
        ]:
            del self._lines[key]


class CountingLog:
    """Counts events by reason and logs one line per `interval_s` with all counts.

    Use it for events that unauthenticated clients can cause: all reasons share one line. The
    first event is logged at once.

        _refused = CountingLog(structlog.get_logger(__name__), "connections refused")
        _refused.count("slow")
    """

    def __init__(
        self,
        log: Any,
        event: str,
        *,
        interval_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._event = event
        self._interval_s = interval_s
        self._clock = clock
        self._reasons: Counter[str] = Counter()
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def count(self, reason: str) -> None:
        """Count an event. Pass few different reasons, never an id."""
        self._reasons[reason] += 1
        now = self._clock()
        if now >= self._next_at:
            self._emit()
        elif self._timer is None:
            self._timer = _call_later(self._next_at - now, self._emit)

    def _emit(self) -> None:
        self._next_at = self._clock() + self._interval_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reasons = dict(sorted(self._reasons.items()))
        self._reasons.clear()
        self._log.info(self._event, count=sum(reasons.values()), reasons=reasons)


class LibraryLimit(logging.Filter):
    """Passes one record per second for each message of the libraries' loggers.

    asyncio, uvicorn and the WebSocket library log some errors of clients each time. A record after
    suppressed ones says how many there were.
    """

    def __init__(
        self, *, interval_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock = clock
        self._messages: dict[
            tuple[str, str], list[float]
        ] = {}  # next time, number suppressed since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the record."""
        if not record.name.startswith(_LIBRARIES):
            return True
        now = self._clock()
        key = (record.name, str(record.msg)[:_MESSAGE_CHARS])
        if key not in self._messages and len(self._messages) >= _MAX_LINES:
            key = (record.name, "")
        state = self._messages.setdefault(key, [now, 0])
        if now < state[0]:
            state[1] += 1
            return False
        if state[1]:
            record.msg = f"{record.msg} [{state[1]:.0f} more before]"
        state[:] = [now + self._interval_s, 0]
        return True


class _Line:
    """One line of a `RateLimitedLog`: its count and the earliest time of the next one."""

    __slots__ = ("count", "next_at", "timer")

    def __init__(self) -> None:
        self.count = 0
        self.next_at = 0.0
        self.timer: asyncio.TimerHandle | None = None


def _call_later(delay_s: float, callback: Any) -> asyncio.TimerHandle | None:
    try:
        return asyncio.get_running_loop().call_later(delay_s, callback)
    except RuntimeError:  # no loop runs in this thread
        return None
