"""Converts structs to JSON Schema components for the generated documents, and lists the limits."""

from collections.abc import Mapping
from inspect import cleandoc
from types import MappingProxyType
from typing import Any, Final

import msgspec

from mallard_protocol.codes import (
    ANSWER_KEPT_MS,
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    FUTURE_FIX_MS,
    HELLO_WITHIN_S,
    IDEMPOTENCY_KEPT_MS,
    LOCATION_MS,
    MAX_BODY_BYTES,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_FRAME_BYTES,
    MAX_OPEN_JOBS,
    MAX_PAGE,
    MAX_STORED_BYTES,
    MAX_WAIT_S,
    PING_MS,
    RATE_BURST_BYTES,
    RATE_BYTES_PER_S,
    RATE_FRAMES_PER_S,
    RATE_WINDOW_S,
    STORE_DOWN_CLOSE_S,
    TERMINAL_KEPT_MS,
)
from mallard_protocol.messages import MAX_FIXES
from mallard_protocol.resources import MAX_STORES

REF: Final = "#/components/schemas/"
_FIX: Final = "Fix"

# Name, value and meaning of each limit.
SOCKET_LIMITS: Final[tuple[tuple[str, float, str], ...]] = (
    ("max_bytes", MAX_FRAME_BYTES, "a client's frame; a larger one closes the socket"),
    ("max_depth", MAX_DEPTH, "maps and arrays inside one another in a client's frame"),
    ("max_containers", MAX_CONTAINERS, "maps and arrays in all in a client's frame"),
    ("max_fixes", MAX_FIXES, "position fixes in one `location`"),
    ("future_fix_ms", FUTURE_FIX_MS, "how far a fix may lie in the future"),
    ("hello_within_s", HELLO_WITHIN_S, "until the first frame"),
    ("ping_ms", PING_MS, "between two pings; after twice that without a frame: closed"),
    ("location_ms", LOCATION_MS, "how often the server would like positions"),
    ("rate_frames_per_s", RATE_FRAMES_PER_S, "frames a second"),
    ("rate_window_s", RATE_WINDOW_S, "the frames of so many seconds may come at once"),
    ("rate_bytes_per_s", RATE_BYTES_PER_S, "bytes of frames a second"),
    ("rate_burst_bytes", RATE_BURST_BYTES, "bytes of frames that may come at once"),
    ("answer_kept_ms", ANSWER_KEPT_MS, "a repeated request gets its first answer so long"),
    ("store_down_close_s", STORE_DOWN_CLOSE_S, "without a store, until sockets are closed"),
    ("backoff_first_s", BACKOFF_FIRST_S, "first full-jitter wait before connecting again"),
    ("backoff_max_s", BACKOFF_MAX_S, "longest such wait"),
)
HTTP_LIMITS: Final[tuple[tuple[str, float, str], ...]] = (
    ("max_body_bytes", MAX_BODY_BYTES, "a request's body"),
    ("max_wait_s", MAX_WAIT_S, "`wait_s`"),
    ("max_page", MAX_PAGE, "`limit` of a list"),
    ("max_stores", MAX_STORES, "stores of a job"),
    ("idempotency_kept_ms", IDEMPOTENCY_KEPT_MS, "an idempotency key is remembered"),
    ("terminal_kept_ms", TERMINAL_KEPT_MS, "a finished job can be read"),
    ("service_open_jobs", MAX_OPEN_JOBS, "open jobs of a service in a market; by default"),
    (
        "service_stored_bytes",
        MAX_STORED_BYTES,
        "bytes of a service's jobs of the last `terminal_kept_ms` in a market; by default",
    ),
)


def schemas(
    structs: tuple[type, ...],
    *,
    draft: str = "2020-12",
    names: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the JSON Schemas of structs and of their parts, by name.

    Args:
        structs: the structs.
        draft: the JSON Schema draft; `07` for AsyncAPI, whose schemas are a superset of it.
        names: the schema names of structs that do not use their own name.
    """
    _, components = msgspec.json.schema_components(structs, ref_template=REF + "{name}")
    cleaning = _Cleaning(draft, names)
    cleaned = {names.get(name, name): cleaning.clean(schema) for name, schema in components.items()}
    return dict(sorted({**cleaned, **cleaning.named}.items()))


class _Cleaning:
    """Rewrites msgspec's schemas so that every code generator can read them, with named parts."""

    def __init__(self, draft: str, names: Mapping[str, str]) -> None:
        self._draft = draft
        self._names = names
        self.named: dict[str, Any] = {}

    def clean(self, node: Any) -> Any:
        """Return a schema, or a part of one, cleaned; tuples become schemas of their own."""
        if isinstance(node, list | tuple):
            return [self.clean(item) for item in node]
        if isinstance(node, str):
            # Python's look-ahead in our patterns, and the code marks and the indentation of our
            # docstrings, which Python strips from 3.13 on.
            return cleandoc(node).replace(r"(?!\n)", "").replace("``", "`")
        if not isinstance(node, dict):
            return node
        cleaned = {name: self.clean(value) for name, value in node.items()}
        if isinstance(reference := cleaned.get("$ref"), str):
            name = reference.removeprefix(REF)
            cleaned["$ref"] = REF + self._names.get(name, name)
        if cleaned.get("type") == "integer":
            # 32 bits are too few for epoch milliseconds or bytes.
            cleaned["format"] = "int64"
        return self._fix(cleaned) if "prefixItems" in cleaned else cleaned

    def _fix(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """Move the contract's only tuple type to a schema of its own.

        `minItems` and `maxItems` give its length, because generators fail on an `items` that is not
        a schema.
        """
        places = ", ".join(place["title"] for place in cleaned["prefixItems"])
        if self._draft == "07":
            cleaned["items"] = cleaned.pop("prefixItems")
        else:
            cleaned["items"] = {"type": ["number", "null"]}
        cleaned["description"] = f"A position fix: {places}"
        self.named[_FIX] = cleaned
        return {"$ref": REF + _FIX}
