"""HTTP bodies: bytes → plain JSON values → the structs of ``resources``.

Two steps, since an idempotency key compares what was sent as parsed values, before defaults.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from mallard_protocol.codes import MAX_BODY_BYTES
from mallard_protocol.fixes import LooseFixes, read_fix
from mallard_protocol.instants import out_of_bounds
from mallard_protocol.messages import Fix
from mallard_protocol.strict import Malformed, parse_json
from mallard_protocol.violations import Violation, violation

# Deeper than any resource, `metadata` included; far from what a recursive reader can bear.
MAX_BODY_DEPTH: Final = 32

T = TypeVar("T")


class BodyTooLarge(ValueError):
    """The body is over ``MAX_BODY_BYTES``: 413."""


class MalformedJson(ValueError):
    """The body is not well-formed JSON: 400. The text says why."""


class InvalidBody(ValueError):
    """The body is JSON but not what is asked for: 422. ``violations``: at least one."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__("; ".join(map(str, violations)))
        self.violations = violations


def parse_json_body(data: bytes) -> Any:
    """Parse a body into plain values.

    Refused beyond what JSON itself refuses: duplicate keys, more than ``MAX_BODY_DEPTH`` levels,
    lone surrogates, numbers of over 400 characters. Raises ``BodyTooLarge``, ``MalformedJson``.
    """
    if len(data) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"over {MAX_BODY_BYTES} bytes")
    try:
        return parse_json(data.decode(), max_depth=MAX_BODY_DEPTH)
    except UnicodeDecodeError:
        raise MalformedJson("bad UTF-8") from None
    except Malformed as problem:
        raise MalformedJson(str(problem)) from None


def body_as(value: Any, kind: type[T]) -> T:
    """Check plain values against a struct of ``resources``; null for an optional field is absent.

    Every time lies within the bounds of ``mallard_protocol.instants``. Raises ``InvalidBody``.
    """
    try:
        body = msgspec.convert(without_nulls(value, kind), kind)
    except msgspec.ValidationError as error:
        raise InvalidBody((violation(error),)) from None
    if violations := tuple(out_of_bounds(body)):
        raise InvalidBody(violations)
    return body


def decode_json_body(data: bytes, kind: type[T]) -> T:
    """Both steps at once. Raises ``BodyTooLarge``, ``MalformedJson``, ``InvalidBody``."""
    return body_as(parse_json_body(data), kind)


def decode_fixes_body(data: bytes) -> tuple[Fix | None, ...]:
    """Return the fixes of a ``POST /v1/driver/locations``, in their order; None: malformed.

    Raises ``BodyTooLarge``, ``MalformedJson``, ``InvalidBody``.
    """
    return tuple(map(read_fix, decode_json_body(data, LooseFixes).fixes))


def without_nulls(value: Any, kind: type) -> Any:
    """Drop the nulls of optional fields, nested ones too: many serialisers write null for absent.

    A null stays where it is a value (in ``metadata``), and where the field is required: there it is
    an error at its own pointer.
    """
    fields = _optional_fields(kind)
    return value if fields is None else _without_nulls(value, fields)


@cache
def _optional_fields(kind: type) -> "_Fields | None":
    return _fields_of(msgspec.inspect.type_info(kind))


class _Fields:
    """What a struct's fields do with null. ``dropped``: those where it means absent; ``inner``:
    those that hold structs, each with the fields of those."""

    __slots__ = ("dropped", "inner")

    def __init__(self, dropped: frozenset[str], inner: "Mapping[str, _Fields]") -> None:
        self.dropped = dropped
        self.inner = inner


def _fields_of(info: msgspec.inspect.Type) -> _Fields | None:
    """Of a struct, or of the struct in an array or an optional; None for anything else."""
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
    """Hash plain values so that equal JSON has equal hashes: 64 hexadecimal digits.

    Equal means equal as parsed values: the order of keys, white space, escapes and ``1.0`` for
    ``1`` make no difference. ``parse_json_body`` has made whole numbers integers already.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
