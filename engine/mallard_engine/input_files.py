r"""Strict readers of the files that users pass to commands: text, TOML, JSON and tables.

Every fault raises `InputError`, whose message is one line that names the file, the line and the
field. A byte order mark is skipped, lines end only at `\n` (a JSON string may have other
separators), and ambiguous input is rejected: a row that is cut short, a repeated key or id, NaN,
half a surrogate pair.
"""

import csv
import io
import json
import math
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from mallard_engine.core.bounded import ConfigError

T = TypeVar("T")

MAX_DEPTH: Final = 64
_MAX_INT: Final = 2**63 - 1
_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# Messages quote cells and keys up to this length.
_SHOWN_CHARS: Final = 60
# Numbers in tables; Python's parsers also accept `1_000` and digits of other scripts.
_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")


class InputError(ConfigError):
    """A file cannot be used; the message names it, the line and the field."""


def quoted(text: object) -> str:
    """Return a value for a message: short, on one line, printable."""
    shown = ascii(text)
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}…"


def read_text(path: Path | str) -> str:
    """Read a UTF-8 file without its byte order mark; `-` is standard input."""
    name = "standard input" if path == "-" else str(path)
    try:
        data = _standard_input() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error
    except ValueError as error:  # no file has such a name
        raise InputError(f"{quoted(name)}: {error}") from error
    return decoded(data, name)


def decoded(data: bytes, name: str) -> str:
    """Decode a file's bytes as UTF-8 without its byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}, line {line}: not UTF-8: {error.reason}") from error


def _standard_input() -> bytes:
    binary = getattr(sys.stdin, "buffer", None)
    return binary.read() if binary is not None else sys.stdin.read().encode()


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip(" \t\r"):
            yield number, line


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file."""
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except ValueError as error:  # tomllib names the line
        raise InputError(f"{path}: {error}") from error


def parse_json(text: str, where: str) -> Any:
    """Parse one JSON text; `where` names the file, and the line if there are several texts."""
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text.strip() else ""
        raise InputError(f"{where}{line}: column {error.colno}: {error.msg}") from error
    except RecursionError:
        raise InputError(f"{where}: nested too deeply") from None
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    for pointer, wrong in _unusable(value, "", 0):
        raise InputError(f"{where}: {pointer or 'the value'}: {wrong}")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"the key {quoted(key)} occurs twice in one object")
        mapping[key] = value
    return mapping


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unusable(value: Any, pointer: str, depth: int) -> Iterator[tuple[str, str]]:
    """Yield values that are valid JSON but not valid in a request, each with its JSON pointer."""
    match value:
        case dict() | list() if depth >= MAX_DEPTH:
            yield pointer[:_SHOWN_CHARS], "nested too deeply"
        case dict():
            for key, item in value.items():
                inner = f"{pointer}/{_printable(key)}"
                yield from ((inner, wrong) for wrong in _bad_text(key))
                yield from _unusable(item, inner, depth + 1)
        case list():
            for index, item in enumerate(value):
                yield from _unusable(item, f"{pointer}/{index}", depth + 1)
        case str():
            yield from ((pointer, wrong) for wrong in _bad_text(value))
        case float() if not math.isfinite(value):
            yield pointer, "a number beyond any range"
        case int() if abs(value) > _MAX_INT:
            yield pointer, "a whole number beyond 64 bits"


def _bad_text(text: str) -> Iterator[str]:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            yield "half a surrogate pair"


def _printable(key: str) -> str:
    return key if key.isascii() and key.isprintable() else quoted(key)


class Row:
    """One row of a table with validated access to its cells; errors name file, line and column."""

    def __init__(self, where: str, cells: Mapping[str, str]) -> None:
        self.where = where
        self._cells = cells

    def wrong(self, column: str, what: str) -> InputError:
        """Return the error about a cell."""
        return InputError(f"{self.where}: {column}: {what}")

    def text(self, column: str) -> str:
        """Return a cell as text."""
        if column not in self._cells:
            raise InputError(f"{self.where}: there is no column {column!r}")
        return self._cells[column].strip(" ")

    def id(self, column: str, longest: int = 64) -> str:
        """Return an id in the engine's format, of at most `longest` characters."""
        text = self.text(column)
        if not _ID.fullmatch(text) or len(text) > longest:
            raise self.wrong(
                column, f"{quoted(text)} is not 1-{longest} characters of A-Z a-z 0-9 _ . : -"
            )
        return text

    def number(self, column: str, low: float, high: float, *, empty: float | None = None) -> float:
        """Return a number from `low` to `high`; `empty` is the value of an empty cell."""
        text = self.text(column)
        if not text and empty is not None:
            return empty
        if not _NUMBER.fullmatch(text) or not low <= float(text) <= high:
            raise self.wrong(
                column, f"{quoted(text)} is not a number from {low:,.12g} to {high:,.12g}"
            )
        return float(text)

    def whole(self, column: str, low: int, high: int) -> int:
        """Return a whole number from `low` to `high`."""
        text = self.text(column)
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise self.wrong(
                column, f"{quoted(text)} is not a whole number from {low:,} to {high:,}"
            )
        return int(text)

    def position(self, lat: str, lon: str) -> tuple[float, float]:
        """Return two columns as latitude and longitude in degrees."""
        return self.number(lat, -90, 90), self.number(lon, -180, 180)


def read_rows(
    path: Path, read: Callable[[Row], T], *, delimiter: str = ",", key: str | None = None
) -> list[T]:
    """Read a table with at least one row and convert each row by `read`.

    `key` is a column of ids, which must be unique.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    rows: list[T] = []
    seen: dict[str, int] = {}
    try:
        head = [name.strip(" ") for name in next(reader, [])]
        if len(set(head)) != len(head):
            twice = next(name for name in head if head.count(name) > 1)
            raise InputError(f"{path}, line 1: the column {quoted(twice)} occurs twice")
        for cells in reader:
            if not cells:
                continue
            row = _row(f"{path}, line {reader.line_num}", head, cells)
            if key is not None:
                first = seen.setdefault(row.text(key), reader.line_num)
                if first != reader.line_num:
                    raise row.wrong(key, f"{quoted(row.text(key))} is in line {first} already")
            rows.append(read(row))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}") from error
    if not rows:
        raise InputError(f"{path}: it has no rows")
    return rows


def _row(where: str, head: list[str], cells: list[str]) -> Row:
    if len(cells) < len(head):
        raise InputError(f"{where}: cut short: there is no {head[len(cells)]}")
    if len(cells) > len(head):
        raise InputError(f"{where}: {len(cells)} cells, and {len(head)} columns")
    return Row(where, dict(zip(head, cells, strict=True)))
