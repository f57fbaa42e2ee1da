"""The one bound of every instant that may enter: from 1970 up to 2100, whatever its offset.

Beyond it some calendar, clock or number on the way breaks: year 10000 has no `datetime`, and a time
in UTC may lie in another year than as it was sent.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from mallard_protocol.violations import Violation

EARLIEST_MS: Final = 0
# 2100-01-01T00:00:00Z, itself out of bounds.
LATEST_MS: Final = 4_102_444_800_000
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = _EARLIEST + timedelta(milliseconds=LATEST_MS)
OUT_OF_BOUNDS: Final = "not between 1970 and 2100"

# RFC 3339 with an offset, in JSON.
Instant = Annotated[datetime, Meta(tz=True)]


def is_instant(at: datetime) -> bool:
    """Whether a time with an offset lies within the bounds."""
    return _EARLIEST <= at < _LATEST


def read_instant(text: str) -> datetime:
    """Return the time that a text outside of a body says: RFC 3339 with an offset, as in a body.

    Raises ``ValueError``, whose text says what is wrong.
    """
    try:
        at: datetime = msgspec.convert(text, Instant)
    except msgspec.ValidationError:
        raise ValueError("not a time of RFC 3339 with an offset") from None
    if not is_instant(at):
        raise ValueError(OUT_OF_BOUNDS)
    return at


def out_of_bounds(value: Any, path: tuple[str, ...] = ()) -> Iterator[Violation]:
    """Yield a violation for each time of a struct, at any depth, that lies out of bounds."""
    match value:
        case datetime():
            if not is_instant(value):
                yield Violation(path, OUT_OF_BOUNDS)
        case Struct():
            for name in value.__struct_fields__:
                yield from out_of_bounds(getattr(value, name), (*path, name))
        case tuple():
            for index, item in enumerate(value):
                yield from out_of_bounds(item, (*path, str(index)))
