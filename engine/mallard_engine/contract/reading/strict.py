"""Strict parsers of JSON and MessagePack into plain Python values.

They refuse input that lenient parsers accept or that two parsers may interpret differently:
duplicate and non-string keys, ext types, trailing bytes, invalid UTF-8, lone surrogates, deep
nesting. No memory is allocated from a claimed size, and no exceptions other than `Malformed` and
`TooManyValues` are raised.

Libraries do the parsing. Python code runs once per list or map, and `max_containers` bounds their
number, so any 16 KiB take less than a millisecond.
"""

import json
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final, NoReturn

import msgpack
import msgspec

# Longer integers fit no double and are slow to convert.
MAX_NUMBER_CHARS: Final = 400
_EXACT: Final = 2**53
_CONTAINERS: Final = frozenset({dict, list})
_JSON_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS: Final = re.compile(r"[^][{}]+")
_NESTING: Final = {"[": 1, "{": 1, "]": -1, "}": -1}
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
# These scan the bytes without creating values.
_skip_json: Final = msgspec.json.Decoder(msgspec.Raw).decode
_skip_msgpack: Final = msgspec.msgpack.Decoder(msgspec.Raw).decode


class Malformed(ValueError):
    """The input is not well-formed. The text says why and quotes nothing of it."""


class TooManyValues(ValueError):
    """The input has more lists and maps than `max_containers`."""


def whole(number: float) -> float:
    """Return a whole number as an `int`.

    JavaScript has one number type, and some of its encoders send epoch milliseconds as a float.
    """
    if number.is_integer() and abs(number) <= _EXACT:
        return int(number)
    return number


def parse_json(text: str, *, max_depth: int, max_containers: int | None = None) -> Any:
    """Parse one JSON text.

    A number beyond a double's range (`1e999`) is well-formed and becomes an infinity, which the
    caller's range checks refuse. Without `max_containers` whole numbers become `int` and a number
    of over `MAX_NUMBER_CHARS` is malformed; with it numbers are as Python reads them.

    Raises:
        Malformed: the text is not well-formed.
        TooManyValues: it has more than `max_containers` lists and maps.
    """
    containers = _brackets_in(text)
    if max_containers is not None and containers > max_containers:
        outside = _JSON_STRING.sub("", text)
        if _brackets_in(outside) > max_containers:
            _refuse_too_many(text, outside, max_depth)
    numbers = {} if max_containers is not None else _WHOLE_NUMBERS
    try:
        value = json.loads(
            text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, **numbers
        )
        if _SURROGATE.search(text):
            # An escaped lone surrogate cannot be encoded again.
            json.dumps(value, ensure_ascii=False).encode()
    except Malformed:
        raise
    except UnicodeError:
        raise Malformed("half a surrogate pair") from None
    except RecursionError:
        raise Malformed("nested too deep") from None
    except ValueError:
        raise Malformed("not JSON") from None
    if containers > max_depth:
        _check_depth(value, max_depth)
    return value


def has_more_containers(text: str, most: int) -> bool:
    """Whether a JSON text has more lists and maps than this."""
    return _brackets_in(text) > most and _brackets_in(_JSON_STRING.sub("", text)) > most


def _brackets_in(text: str) -> int:
    return text.count("[") + text.count("{")


def _refuse_too_many(text: str, outside: str, max_depth: int) -> NoReturn:
    """Raise what is wrong with a text of too many containers; ``outside``: without its strings."""
    # Counted here, because the depth that parsers allow differs between versions of Python.
    steps = map(_NESTING.__getitem__, _NOT_BRACKETS.sub("", outside))
    if max(accumulate(steps), default=0) > max_depth:
        raise Malformed("nested too deep")
    try:
        _skip_json(text)
    except (msgspec.DecodeError, UnicodeError):
        raise Malformed("not JSON") from None
    raise TooManyValues


def parse_msgpack(data: bytes, *, max_depth: int, max_containers: int) -> Any:
    """Parse one MessagePack value that fills `data` completely.

    NaN and the infinities are well-formed; the caller's range checks refuse them.

    Raises:
        Malformed: the bytes are not well-formed.
        TooManyValues: they have more than `max_containers` lists and maps.
    """
    budget = _Budget(max_containers)
    try:
        # `unpackb` allocates a list of the claimed size, so check all claims first.
        _skip_msgpack(data)
        value = msgpack.unpackb(
            data,
            strict_map_key=True,
            object_pairs_hook=budget.mapping,
            list_hook=budget.sequence,
            ext_hook=_refuse_ext,
        )
    except (Malformed, TooManyValues):
        raise
    except UnicodeDecodeError:
        raise Malformed("bad UTF-8") from None
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise Malformed("not MessagePack") from None
    _check_depth(value, max_depth)
    return value


class _Budget:
    """Counts down the lists and maps that one frame may hold."""

    __slots__ = ("left",)

    def __init__(self, most: int) -> None:
        self.left = most

    def mapping(self, pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
        self._spend()
        return _unique_keys(pairs)

    def sequence(self, items: list[Any]) -> list[Any]:
        self._spend()
        return items

    def _spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooManyValues


def _unique_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise Malformed("a key twice")
    return mapping


def _refuse_constant(_name: str) -> NoReturn:
    raise Malformed("NaN and Infinity are not JSON")


def _refuse_ext(_code: int, _data: bytes) -> NoReturn:
    raise Malformed("an ext type")


def _json_int(digits: str) -> int:
    if len(digits) > MAX_NUMBER_CHARS:
        raise Malformed("a number too long")
    return int(digits)


def _json_float(digits: str) -> float:
    return whole(float(digits))


_WHOLE_NUMBERS: Final[dict[str, Any]] = {"parse_float": _json_float, "parse_int": _json_int}


def _check_depth(value: Any, max_depth: int) -> None:
    """Check the nesting depth, and that keys are strings and values plain."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(max_depth):
        level = [child for node in level for child in _containers_in(node)]
    if level:
        raise Malformed("nested too deep")


def _containers_in(node: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    values: Iterable[Any] = node
    if type(node) is dict:
        if not {str}.issuperset(map(type, node)):
            raise Malformed("a key that is not a string")
        values = node.values()
    kinds = set(map(type, values))
    if msgpack.Timestamp in kinds:
        raise Malformed("an ext type")
    if kinds.isdisjoint(_CONTAINERS):
        return ()
    return [value for value in values if type(value) in _CONTAINERS]
