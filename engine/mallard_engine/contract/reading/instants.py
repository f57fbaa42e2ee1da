"""Reads times and checks their bounds, which `mallard_protocol.instants` has."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from mallard_engine.contract.reading.violations import Violation
from mallard_protocol.instants import LATEST_MS, Instant

_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = _EARLIEST + timedelta(milliseconds=LATEST_MS)
OUT_OF_BOUNDS: Final = "not between 1970 and 2100"


def is_instant(at: datetime) -> bool:
    """Whether a time with an offset is within the bounds."""
    return _EARLIEST <= at < _LATEST


def read_instant(text: str) -> datetime:
    """Parse a time that is not part of a body: RFC 3339 with an offset.

    Raises:
        ValueError: with a text for the caller.
    """
    try:
        at: datetime = msgspec.convert(text, Instant)
    except msgspec.ValidationError:
        raise ValueError("not a time of RFC 3339 with an offset") from None
    if not is_instant(at):
        raise ValueError(OUT_OF_BOUNDS)
    return at


def out_of_bounds(value: Any, path: tuple[str, ...] = ()) -> Iterator[Violation]:
    """Yield a violation for each time of a struct, at any depth, that is out of bounds."""
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
