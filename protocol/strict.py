"""Strict parsers: bytes or text → plain values (dict, list, str, bytes, int, float, bool, None).

They refuse what lenient parsers let through and what two parsers may read differently: duplicate
and non-string keys, ext types, trailing bytes, bad UTF-8, lone surrogates, deep nesting. Nothing is
allocated from a claimed size, and no input makes them raise anything but ``Malformed``.

A whole number is an ``int`` however it was written: JavaScript knows one kind of number, and some
of its MessagePack encoders send an epoch in milliseconds as a float.
"""

import json
import math
import struct
from collections.abc import Callable
from typing import Any, Final, NoReturn

# An integer that no double can hold is nobody's quantity, and long ones are slow to convert.
MAX_NUMBER_CHARS: Final = 400
_EXACT = 2**53


class Malformed(ValueError):
    """The bytes are not well-formed. The text says why and holds none of their content."""


def parse_json(text: str, *, max_depth: int) -> Any:
    """Parse one JSON text. Raises ``Malformed``.

    A number beyond a double's range (``1e999``) is well-formed and comes out as an infinity, for
    the caller's range checks to refuse.
    """
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_json_float,
            parse_int=_json_int,
        )
        if "\\u" in text:
            # An escaped lone surrogate is half a character: it can never be sent on.
            json.dumps(value, ensure_ascii=False).encode()
    except Malformed:
        raise
    except UnicodeError:
        raise Malformed("half a surrogate pair") from None
    except RecursionError:
        raise Malformed("nested too deep") from None
    except ValueError:
        raise Malformed("not JSON") from None
    if text.count("[") + text.count("{") > max_depth and _deeper_than(max_depth, value):
        raise Malformed("nested too deep")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise Malformed("a key twice")
    return mapping


def _refuse_constant(_name: str) -> NoReturn:
    raise Malformed("NaN and Infinity are not JSON")


def _json_int(digits: str) -> int:
    if len(digits) > MAX_NUMBER_CHARS:
        raise Malformed("a number too long")
    return int(digits)


def _json_float(digits: str) -> float:
    return _whole(float(digits))


def _whole(number: float) -> float:
    if number.is_integer() and abs(number) <= _EXACT:
        return int(number)
    return number


def _deeper_than(max_depth: int, value: Any) -> bool:
    level = [value]
    for _ in range(max_depth):
        level = [child for node in level for child in _children(node)]
    return any(isinstance(node, dict | list) for node in level)


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []


_CONSTANTS: Final[dict[int, bool | None]] = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS: Final = {
    head: struct.Struct(code)
    for head, code in (
        (0xCA, ">f"),
        (0xCB, ">d"),
        (0xCC, ">B"),
        (0xCD, ">H"),
        (0xCE, ">I"),
        (0xCF, ">Q"),
        (0xD0, ">b"),
        (0xD1, ">h"),
        (0xD2, ">i"),
        (0xD3, ">q"),
    )
}
_U8, _U16, _U32 = struct.Struct(">B"), struct.Struct(">H"), struct.Struct(">I")
_SIZES: Final[dict[int, tuple[type, struct.Struct]]] = {
    0xC4: (bytes, _U8),
    0xC5: (bytes, _U16),
    0xC6: (bytes, _U32),
    0xD9: (str, _U8),
    0xDA: (str, _U16),
    0xDB: (str, _U32),
    0xDC: (list, _U16),
    0xDD: (list, _U32),
    0xDE: (dict, _U16),
    0xDF: (dict, _U32),
}
_NO_KEY: Final = object()


class _Open:
    """A list or map whose end has not been read yet. ``left`` counts keys and values alike."""

    __slots__ = ("add", "key", "left", "value")

    value: list[Any] | dict[str, Any]

    def __init__(self, kind: type, count: int) -> None:
        self.add: Callable[[Any], None]
        if kind is list:
            items: list[Any] = []
            self.value, self.left, self.add = items, count, items.append
        else:
            self.value, self.left, self.add = {}, 2 * count, self._put
            self.key: Any = _NO_KEY

    def ended(self) -> list[Any] | dict[str, Any]:
        """The whole value."""
        del self.add  # a method of its own: a circle that only the garbage collector would find
        return self.value

    def _put(self, item: Any) -> None:
        mapping: Any = self.value
        if self.key is not _NO_KEY:
            mapping[self.key] = item
            self.key = _NO_KEY
            return
        if not isinstance(item, str):
            raise Malformed("a key that is no string")
        if item in mapping:
            raise Malformed("a key twice")
        self.key = item


def parse_msgpack(data: bytes, *, max_depth: int) -> Any:
    """Parse one MessagePack value that fills ``data`` to its end. Raises ``Malformed``.

    NaN and the infinities are well-formed MessagePack and come out as such, for the caller's range
    checks to refuse.
    """
    position = 0
    open_containers: list[_Open] = []
    while True:
        if position >= len(data):
            raise Malformed("truncated")
        value, position = _next(data, position)
        if isinstance(value, _Open):
            if len(open_containers) >= max_depth:
                raise Malformed("nested too deep")
            # Every item takes a byte at least: a claim beyond the bytes left is refused unread.
            if value.left > len(data) - position:
                raise Malformed("truncated")
            if value.left:
                open_containers.append(value)
                continue
            value = value.ended()
        while open_containers:
            innermost = open_containers[-1]
            innermost.add(value)
            innermost.left -= 1
            if innermost.left:
                break
            value = open_containers.pop().ended()
        else:
            if position != len(data):
                raise Malformed("trailing bytes")
            return value


def _next(data: bytes, position: int) -> tuple[Any, int]:
    """Read one scalar, or the head of a container, and say where the next value starts."""
    head = data[position]
    position += 1
    if head <= 0x7F:
        return head, position
    if head >= 0xE0:
        return head - 256, position
    if head <= 0x8F:
        return _Open(dict, head & 0x0F), position
    if head <= 0x9F:
        return _Open(list, head & 0x0F), position
    if head <= 0xBF:
        return _text(data, position, position + (head & 0x1F))
    return _by_table(head, data, position)


def _by_table(head: int, data: bytes, position: int) -> tuple[Any, int]:
    if head in _CONSTANTS:
        return _CONSTANTS[head], position
    if head in _NUMBERS:
        number, position = _number(_NUMBERS[head], data, position)
        return (_whole(number) if head <= 0xCB and math.isfinite(number) else number), position
    if head not in _SIZES:
        raise Malformed("an ext type" if head != 0xC1 else "a byte that MessagePack never uses")
    kind, size = _SIZES[head]
    count, position = _number(size, data, position)
    if kind is str:
        return _text(data, position, position + count)
    if kind is bytes:
        return _raw(data, position, position + count), position + count
    return _Open(kind, count), position


def _number(shape: struct.Struct, data: bytes, position: int) -> tuple[Any, int]:
    end = position + shape.size
    if end > len(data):
        raise Malformed("truncated")
    return shape.unpack_from(data, position)[0], end


def _raw(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise Malformed("truncated")
    return data[start:end]


def _text(data: bytes, start: int, end: int) -> tuple[str, int]:
    try:
        return _raw(data, start, end).decode(), end
    except UnicodeDecodeError:
        raise Malformed("bad UTF-8") from None
