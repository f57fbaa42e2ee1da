"""Reads the description of a bad day: `missing=0.02,late=0.1`, or a TOML file of such shares."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mallard_engine.workload.bad_day.events import DEFAULT_SHARES, BadDay, BadEvent

_LARGEST_BYTES: Final = 64 * 1024
_TABLE: Final = "bad_day"


class BadDayError(ValueError):
    """The description is invalid; the message says what and where."""


def read_bad_day(text: str, seed: int) -> BadDay:
    """Return the day that a text describes.

    Args:
        text: Empty: the default shares. Else `NAME=SHARE,…`, or the name of a TOML file with one
            table, `[bad_day]`. Only the named events happen.
        seed: Another seed is another day.

    Raises:
        BadDayError: The description is invalid, or the file cannot be read.
    """
    if not text.strip():
        return BadDay(seed, DEFAULT_SHARES)
    where = f"{text}: " if _is_file(text) else ""
    try:
        pairs = _of_file(Path(text)) if where else _of_text(text)
        return BadDay(seed, {_event(name): _share(name, value) for name, value in pairs.items()})
    except ValueError as error:
        raise BadDayError(f"{where}{error}") from None


def _is_file(text: str) -> bool:
    return "=" not in text


def _of_text(text: str) -> Mapping[str, object]:
    pairs: dict[str, object] = {}
    for part in text.split(","):
        name, is_pair, value = (it.strip() for it in part.partition("="))
        if not is_pair or not name:
            raise ValueError(f"{part.strip()!r} is not NAME=SHARE")
        if name in pairs:
            raise ValueError(f"{name} is named twice")
        try:
            pairs[name] = float(value)
        except ValueError:
            raise ValueError(f"{name}: {value!r} is not a number") from None
    return pairs


def _of_file(path: Path) -> Mapping[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror) from None
    if len(data) > _LARGEST_BYTES:
        raise ValueError(f"over {_LARGEST_BYTES:,} bytes")
    try:
        document: dict[str, Any] = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not TOML: {error}") from None
    table = document.get(_TABLE)
    if set(document) != {_TABLE} or not isinstance(table, dict):
        raise ValueError(f"it must have one table, [{_TABLE}]")
    return table


def _event(name: str) -> BadEvent:
    try:
        return BadEvent(name)
    except ValueError:
        raise ValueError(f"there is no event {name!r}: there are {', '.join(BadEvent)}") from None


def _share(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name}: {value!r} is not a number")
    return float(value)
