"""Checks frames and resources against the published documents, `docs/contract/*.json`.

Stricter than what a client may be: a field or a word that the documents do not list is an error. A
`reason` may be the caller's own words, for a cancellation.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

Frame = dict[str, Any]
Schema = Mapping[str, Any]

_DOCUMENTS: Final = Path(__file__).parents[2] / "docs" / "contract"
_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


def _schemas(document: str) -> dict[str, Schema]:
    text = (_DOCUMENTS / document).read_text(encoding="utf-8")
    schemas: dict[str, Schema] = json.loads(text)["components"]["schemas"]
    return schemas


_SOCKET: Final = _schemas("asyncapi.json")
_HTTP: Final = _schemas("openapi.json")
_FRAMES: Final = {
    schema["properties"]["type"]["enum"][0]: schema
    for schema in _SOCKET.values()
    if "type" in schema.get("properties", {}) and "enum" in schema["properties"]["type"]
}
DRIVER_STATES: Final = set(_HTTP["DriverView"]["properties"]["state"]["x-extensible-enum"])


def integer(value: Any) -> bool:
    return type(value) is int


def epoch_ms(value: Any) -> bool:
    return type(value) is int and 1_600_000_000_000 < value < 4_000_000_000_000


def number(value: Any) -> bool:
    return type(value) in {int, float}


def identifier(value: Any) -> bool:
    return not isinstance(value, str) or _ID.fullmatch(value) is not None


def moment(value: Any) -> bool:
    """An RFC 3339 time with an offset."""
    return isinstance(value, str) and datetime.fromisoformat(value).utcoffset() is not None


_TYPES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "integer": integer,
    "number": number,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_INSTANTS: Final = (
    "at",
    "deadline",
    "dropoff",
    "expires",
    "pickup",
    "ready",
    "server_time",
    "until",
)
# What the documents say of these fields in prose.
_NAMED: Final[Mapping[str, Callable[[Any], bool]]] = {
    **dict.fromkeys(("gate", "id", "job", "mall", "market", "offer", "store"), identifier),
    **{f"{name}_ms": epoch_ms for name in (*_INSTANTS, "token_expires")},
}
_WELCOME: Final = {"ping_ms": 25_000, "location_ms": 4_000, "max_bytes": 16_384}
# What a driver learns about the customer once it has accepted.
_AFTER_ACCEPTANCE: Final = {"address", "contact", "name", "note"}


def _differences(
    value: Any, schema: Schema, schemas: Mapping[str, Schema], path: str
) -> Iterator[str]:
    if reference := schema.get("$ref"):
        schema = schemas[reference.rpartition("/")[2]]
    kinds = schema.get("anyOf")
    if kinds is not None:
        tried = [list(_differences(value, kind, schemas, path)) for kind in kinds]
        if all(tried):
            yield from min(tried, key=len)
        if value is None:
            return
    kind = schema.get("type")
    if kind is not None and not _TYPES[kind](value):
        yield f"{path}: {value!r} is no {kind}"
        return
    words = schema.get("enum") or schema.get("x-extensible-enum")
    if words is not None and value not in words and not path.endswith("/reason"):
        yield f"{path}: {value!r} is none of {words}"
    if isinstance(value, dict):
        yield from _field_differences(value, schema, schemas, path)
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _differences(item, schema["items"], schemas, f"{path}/{index}")
    else:
        yield from _bound_differences(value, schema, path)


def _bound_differences(value: Any, schema: Schema, path: str) -> Iterator[str]:
    if isinstance(value, str):
        if schema.get("format") == "date-time" and not moment(value):
            yield f"{path}: {value!r} is no time with an offset"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{path}: {value!r} does not match {schema['pattern']}"
    elif number(value) and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        yield f"{path}: {value!r} is out of bounds"


def _field_differences(
    value: Frame, schema: Schema, schemas: Mapping[str, Schema], path: str
) -> Iterator[str]:
    if "properties" not in schema and "additionalProperties" not in schema:
        return
    known: Mapping[str, Schema] = schema.get("properties", {})
    others: Schema | bool = schema.get("additionalProperties", False)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}/{name} is missing"
    for name, inner in value.items():
        expected: Schema | bool = known.get(name, others)
        if expected is False:
            yield f"{path}/{name}: the contract does not list it"
        elif not isinstance(expected, bool):
            yield from _differences(inner, expected, schemas, f"{path}/{name}")
        if name in known and name in _NAMED and inner is not None and not isinstance(inner, dict):
            check = _NAMED[name]
            if not check(inner):
                yield f"{path}/{name}: {inner!r} is no {check.__name__}"


def assert_resource(value: Any, name: str) -> None:
    """Check a body against a schema of the OpenAPI document."""
    found = list(_differences(value, _HTTP[name], _HTTP, name))
    assert not found, "; ".join(found)


def assert_frame(frame: Frame) -> None:
    """Check a frame of the engine against the AsyncAPI document."""
    found = list(_differences(frame, _FRAMES[frame["type"]], _SOCKET, frame["type"]))
    assert not found, "; ".join(found)
    if frame["type"] == "welcome":
        assert {name: frame[name] for name in _WELCOME} == _WELCOME
    offer = frame if frame["type"] == "offer" else frame.get("offer")
    for job in offer["jobs"] if isinstance(offer, dict) else ():
        assert not job["dropoff"].keys() & _AFTER_ACCEPTANCE
        assert "external_id" not in job
