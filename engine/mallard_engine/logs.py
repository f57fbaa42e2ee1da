"""Structured logs for people (console) or machines (JSON), to standard error.

Nobody logs a token, a name, a contact, an address or a precise position; should somebody do so
after all, the redaction here is the last line of defence.
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

# More different lines than this within one interval share one line without their fields.
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
# Three base64url parts, the first of which begins a JSON object: a JWT, wherever it turns up.
_JWT = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")
_BEARER = re.compile(r"(?i)(bearer\s+)\S+")
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")


def configure_logging(
    log_format: Literal["console", "json"] = "console",
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """Set up structlog and the standard library's loggers alike. Call it once, at start."""
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
            # The pretty one shows local variables: positions, addresses, tokens.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    # The console shows tracebacks itself; as JSON they are a field, redacted with the rest.
    last: list[Processor] = [structlog.processors.format_exc_info] if json else []
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
                *last,
                redact,
                renderer,
            ],
        )
    )
    handler.addFilter(LibraryLimit())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # uvicorn's own lines at `info` tell of each request and socket, with its path and query.
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, root.level))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take out of an event what no log may hold."""
    return {key: _clean(key, value) for key, value in event.items()}


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
    """Logs an event that may come often: at most one line each `interval_s`, with a count.

    The first event is logged at once. Those that follow within the interval are counted, and one
    line at its end says how many there were (`count`, left out for a single event). Events of
    other levels, names or fields have lines of their own, so pass few different values: a code or
    a reason, never an id. Use it for whatever clients, or a store that is away, can cause many
    times a second.

        _refusals = RateLimitedLog(structlog.get_logger(__name__))
        _refusals.info("socket refused", reason="draining")

    `example`: fields that say which one it was, such as an id or `exc_info`. They do not make
    events different, and only the line of a single event has them.

    Outside an event loop, and in other threads, the count comes with the next event instead.
    """

    def __init__(self, log: Any, *, interval_s: float = 1.0) -> None:
        self._log = log
        self._interval_s = interval_s
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
        now = time.monotonic()
        key = (level, event, tuple(fields.items()))
        if key not in self._lines and len(self._lines) >= _MAX_LINES:
            self._drop_quiet(now)
            if len(self._lines) >= _MAX_LINES:
                key = (level, event, ())
        line = self._lines.setdefault(key, _Line())
        line.count += 1
        if now >= line.next_at:
            self._emit(key, line, now, example)
        elif line.timer is None:
            line.timer = _call_later(line.next_at - now, lambda: self._end_of_interval(key))

    def _end_of_interval(self, key: tuple[LogLevel, str, tuple[tuple[str, Any], ...]]) -> None:
        line = self._lines.get(key)
        if line is not None and line.count:
            self._emit(key, line, time.monotonic())

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

    def _drop_quiet(self, now: float) -> None:
        for key in [
            key for key, line in self._lines.items() if not line.count and now >= line.next_at
        ]:
            del self._lines[key]


class Tally:
    """Counts events by reason; logs at most one line each `interval_s`, with the count of each.

    For what clients without a token can cause: however many reasons there are, it is one line. The
    first event is logged at once.

        _refused = Tally(structlog.get_logger(__name__), "connections refused")
        _refused.count("slow")
    """

    def __init__(self, log: Any, event: str, *, interval_s: float = 1.0) -> None:
        self._log = log
        self._event = event
        self._interval_s = interval_s
        self._reasons: Counter[str] = Counter()
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def count(self, reason: str) -> None:
        """Count an event. Pass few different reasons, never an id."""
        self._reasons[reason] += 1
        now = time.monotonic()
        if now >= self._next_at:
            self._emit()
        elif self._timer is None:
            self._timer = _call_later(self._next_at - now, self._emit)

    def _emit(self) -> None:
        self._next_at = time.monotonic() + self._interval_s
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        reasons = dict(sorted(self._reasons.items()))
        self._reasons.clear()
        self._log.info(self._event, count=sum(reasons.values()), reasons=reasons)


class LibraryLimit(logging.Filter):
    """Lets one record a second of each message of the libraries' loggers through.

    The event loop, uvicorn and the WebSocket library log some of what clients do wrong, each time.
    A record that follows suppressed ones says how many they were.
    """

    def __init__(
        self, *, interval_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock = clock
        self._messages: dict[tuple[str, str], list[float]] = {}  # next at, suppressed since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
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
    """One line of a `RateLimitedLog`: events counted since the last one, and when it may come."""

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
