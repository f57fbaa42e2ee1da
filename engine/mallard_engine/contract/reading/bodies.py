"""Decodes HTTP bodies: bytes to plain JSON values, then to the structs of `resources`.

There are two steps because an idempotency key compares the parsed values before defaults.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from mallard_engine.contract.reading.fixes import LooseFixes, read_fix
from mallard_engine.contract.reading.instants import out_of_bounds
from mallard_engine.contract.reading.strict import Malformed, has_more_containers, parse_json
from mallard_engine.contract.reading.violations import Violation, violation
from mallard_protocol.codes import MAX_BODY_BYTES
from mallard_protocol.messages import Fix

# Deeper than any resource including `metadata`, and far below the recursion limit.
MAX_BODY_DEPTH: Final = 32

T = TypeVar("T")


class BodyTooLarge(ValueError):
    """The body is over `MAX_BODY_BYTES`: 413."""


class MalformedJson(ValueError):
    """The body is not well-formed JSON: 400. The text says why."""


class InvalidBody(ValueError):
    """The body is JSON with invalid content: 422. `violations` has at least one entry."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = violations


def parse_json_body(
    data: bytes, max_bytes: int = MAX_BODY_BYTES, max_containers: int | None = None
) -> Any:
    """Parse a body into plain values.

    Duplicate keys, more than `MAX_BODY_DEPTH` levels, lone surrogates and numbers of over 400
    characters are refused, and more lists and maps than `max_containers`: each takes its time.

    Raises:
        BodyTooLarge: the body is over `max_bytes`.
        MalformedJson: the body is not well-formed.
    """
    if len(data) > max_bytes:
        raise BodyTooLarge(f"over {max_bytes} bytes")
    try:
        text = data.decode()
        if max_containers is not None and has_more_containers(text, max_containers):
            raise MalformedJson(f"over {max_containers} lists and maps")
        return parse_json(text, max_depth=MAX_BODY_DEPTH)
    except UnicodeDecodeError:
        raise MalformedJson("bad UTF-8") from None
    except Malformed as problem:
        raise MalformedJson(str(problem)) from None


def body_as(value: Any, kind: type[T]) -> T:
    """Convert plain values to a struct of `resources`. Null for an optional field counts as absent.

    Every time is within the bounds of `mallard_protocol.instants`.

    Raises:
        InvalidBody: the values do not match the struct.
    """
    return patch_as(without_nulls(value, kind), kind)


def patch_as(value: Any, kind: type[T]) -> T:
    """Convert plain values to a struct in which null has a meaning. Raises `InvalidBody`."""
    try:
        body = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidBody((violation(error),)) from None
    if violations := tuple(out_of_bounds(body)):
        raise InvalidBody(violations)
    return body


def decode_json_body(data: bytes, kind: type[T]) -> T:
    """Decode a body in one call. Raises `BodyTooLarge`, `MalformedJson`, `InvalidBody`."""
    return body_as(parse_json_body(data), kind)


def decode_fixes_body(data: bytes) -> tuple[Fix | None, ...]:
    """Decode the body of `POST /v1/driver/locations`.

    Returns:
        The fixes in the order of the body, None for a malformed one.

    Raises:
        BodyTooLarge: the body is over `MAX_BODY_BYTES`.
        MalformedJson: the body is not well-formed.
        InvalidBody: the body is not an object with a list of fixes.
    """
    return tuple(map(read_fix, decode_json_body(data, LooseFixes).fixes))


def without_nulls(value: Any, kind: type) -> Any:
    """Drop nulls of optional fields, also nested ones: many serialisers write null for absent.

    A null stays where it is a value (in `metadata`) and where the field is required, which makes it
    an error at the field's own pointer.
    """
    fields = _optional_fields(kind)
    return value if fields is None else _without_nulls(value, fields)


@cache
def _optional_fields(kind: type) -> "_Fields | None":
    return _fields_of(msgspec.inspect.type_info(kind))


class _Fields:
    """How the fields of a struct treat null.

    Args:
        dropped: the fields where null means absent.
        inner: the fields that hold structs, with the fields of those.
    """

    __slots__ = ("dropped", "inner")

    def __init__(self, dropped: frozenset[str], inner: "Mapping[str, _Fields]") -> None:
        self.dropped = dropped
        self.inner = inner


def _fields_of(info: msgspec.inspect.Type) -> _Fields | None:
    """Return the fields of a struct, also inside of an array or a union; None for other types."""
    match info:
        case msgspec.inspect.StructType():
            inner = {it.encode_name: _fields_of(it.type) for it in info.fields}
            return _Fields(
                frozenset(
                    it.encode_name
                    for it in info.fields
                    if not it.required and not _takes_null(it.type)
                ),
                {name: fields for name, fields in inner.items() if fields is not None},
            )
        case msgspec.inspect.VarTupleType() | msgspec.inspect.ListType():
            return _fields_of(info.item_type)
        case msgspec.inspect.UnionType():
            return next((fields for it in info.types if (fields := _fields_of(it))), None)
        case _:
            return None


def _takes_null(info: msgspec.inspect.Type) -> bool:
    types = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return any(isinstance(it, msgspec.inspect.NoneType | msgspec.inspect.AnyType) for it in types)


def _without_nulls(value: Any, fields: _Fields) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item, fields) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_nulls(it, fields.inner[name]) if name in fields.inner else it
        for name, it in value.items()
        if it is not None or name not in fields.dropped
    }


def canonical_hash(value: Any) -> str:
    """Hash plain values so that equal JSON has equal hashes. Returns 64 hexadecimal digits.

    Key order, white space, escapes and `1.0` instead of `1` make no difference: `parse_json_body`
    has already converted whole numbers to integers.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
