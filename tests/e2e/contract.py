"""The tables of the public contract, written from its document alone, and a check of frames.

A shape is a predicate, a set (one of), a one-element list (a list of), a map of fields (`name?`:
may be missing) or `Maybe` (or nil).
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Frame = dict[str, Any]
_LOG = logging.getLogger(__name__)
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


@dataclass(frozen=True)
class Maybe:
    shape: Any


def integer(value: Any) -> bool:
    return type(value) is int


def epoch_ms(value: Any) -> bool:
    return type(value) is int and 1_600_000_000_000 < value < 4_000_000_000_000


def number(value: Any) -> bool:
    return type(value) in {int, float}


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def identifier(value: Any) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def mapping(value: Any) -> bool:
    return isinstance(value, dict)


def moment(value: Any) -> bool:
    """An RFC 3339 time with an offset."""
    return isinstance(value, str) and datetime.fromisoformat(value).utcoffset() is not None


DRIVER_STATES = {"offline", "paused", "available", "offered", "on_run"}
TERMINAL_STATES = {"delivered", "returned", "cancelled", "expired", "failed", "lost"}
JOB_STATES = TERMINAL_STATES | {
    "scheduled",
    "queued",
    "offered",
    "assigned",
    "at_mall",
    "picked_up",
    "returning",
}
ERROR_CODES = {
    "bad_field",
    "unknown_type",
    "not_yours",
    "stale_attempt",
    "offer_closed",
    "wrong_state",
    "holds_jobs",
    "no_position",
    "proof_needed",
    "rate_limited",
    "store_unavailable",
}
PAY = {"amount_minor": integer, "currency": text}
STORE = {
    "store": identifier,
    "name": text,
    "gate": identifier,
    "floor": number,
    "ready_ms": epoch_ms,
    "parcels": integer,
}
PARCELS = {"count": integer, "weight_g?": integer, "volume_l?": number}
FULL_JOB = {
    "job": identifier,
    "attempt": integer,
    "state": JOB_STATES,
    "external_id": Maybe(text),
    "mall": lambda value: identifier(value) or mapping(value),
    "stores": [{**STORE, "pickup_code?": text}],
    "dropoff": {
        "lat": number,
        "lon": number,
        "address?": text,
        "name?": text,
        "contact?": text,
        "note?": text,
        "deadline_ms": epoch_ms,
    },
    "parcels": PARCELS,
    "requires": [text],
    "pay?": PAY,
    "eta": {"pickup_ms": Maybe(epoch_ms), "dropoff_ms": Maybe(epoch_ms)},
}
BARRED = {
    "why": {
        "suspended",
        "cooling_down",
        "unreachable",
        "stale",
        "no_position",
        "block_over",
        "market_paused",
    },
    "until_ms": Maybe(epoch_ms),
}
SHORT_JOB = {
    **{name: shape for name, shape in FULL_JOB.items() if name != "external_id"},
    "stores": [STORE],
    "dropoff": {"lat": number, "lon": number, "deadline_ms": epoch_ms},
}
OFFER = {
    "offer": identifier,
    "attempt": integer,
    "jobs": [SHORT_JOB],
    "mall": {"id": identifier, "name": text, "lat": number, "lon": number, "gate": identifier},
    "eta_s": number,
    "distance_m": number,
    "expires_ms": epoch_ms,
    "server_time_ms": epoch_ms,
    "pay?": PAY,
}
FRAMES: dict[str, dict[str, Any]] = {
    "welcome": {
        "session": text,
        "driver": identifier,
        "market": identifier,
        "seq": integer,
        "server_time_ms": epoch_ms,
        "ping_ms": lambda value: value == 25_000,
        "location_ms": lambda value: value == 4_000,
        "max_bytes": lambda value: value == 16_384,
        "token_expires_ms": epoch_ms,
        "state": DRIVER_STATES,
        "barred": Maybe(BARRED),
        "offer": Maybe({**OFFER, "type?": {"offer"}, "seq?": integer}),
        "jobs": [FULL_JOB],
    },
    "reply": {
        "id": integer,
        "state": DRIVER_STATES,
        "barred": Maybe(BARRED),
        "jobs?": [FULL_JOB],
        "job?": identifier,
        "job_state?": JOB_STATES,
        "attempt?": integer,
    },
    "error": {"id": Maybe(integer), "code": ERROR_CODES, "message": text, "retry": flag},
    "offer": {"seq": integer, **OFFER},
    "offer_closed": {
        "seq": integer,
        "offer": identifier,
        "why": {"expired", "withdrawn", "cancelled", "taken", "collected"},
    },
    "job": {
        "seq": integer,
        "job": identifier,
        "attempt": integer,
        "state": JOB_STATES,
        "reason?": text,
    },
    "state": {"seq": integer, "state": DRIVER_STATES, "why": text},
    "pace": {"location_ms": integer},
    "ping": {},
    "auth_expiring": {"at_ms": epoch_ms},
    "drain": {"reconnect_after_ms": integer},
}
JOB = {
    "id": identifier,
    "market": identifier,
    "state": JOB_STATES,
    "terminal": flag,
    "attempt": integer,
    "driver": Maybe(text),
    "reason": Maybe(text),
    "created_at": moment,
    "updated_at": moment,
    "expires_at": moment,
    "eta": {"pickup": Maybe(moment), "dropoff": Maybe(moment)},
    "timeline": [{"state": JOB_STATES, "at": moment, "actor": text, "cause": text}],
    "external_id": text,
    "pickup": {
        "mall": identifier,
        "stores": [
            {"store": identifier, "ready_at?": moment, "parcels?": integer, "pickup_code?": text}
        ],
        "window_end?": moment,
    },
    "dropoff": {
        "lat": number,
        "lon": number,
        "address?": text,
        "name?": text,
        "contact?": text,
        "note?": text,
        "deadline?": moment,
    },
    "parcels": PARCELS,
    "requires?": [text],
    "priority?": integer,
    "pay?": PAY,
    "metadata?": mapping,
}
CANDIDATE = {
    "driver": lambda value: isinstance(value, str | int),
    "eligible": flag,
    "why_not": Maybe(text),
    "cost_s": Maybe(number),
    "terms": mapping,
    "eta_s": Maybe(number),
    "distance_m": Maybe(number),
}
EXPLANATION = {
    "job": identifier,
    "round": lambda _: True,
    "at": Maybe(moment),
    "radius_m": Maybe(number),
    "capped": Maybe(flag),
    "candidates": [CANDIDATE],
    "asked": [
        {
            "driver": lambda value: isinstance(value, str | int),
            "attempt": integer,
            "outcome": Maybe(
                {
                    "accepted",
                    "declined",
                    "expired",
                    "unacknowledged",
                    "withdrawn",
                    "gave_up",
                    "silent",
                    "unassigned",
                }
            ),
            "at": moment,
        }
    ],
}
QUOTE = {
    "would_match": flag,
    "eta_s": Maybe(number),
    "candidates": [CANDIDATE],
    "why_not": Maybe(text),
}


def differences(value: Any, shape: Any, path: str = "") -> Iterator[str]:
    """Return what is missing or of the wrong type in `value`; unknown fields are logged."""
    if isinstance(shape, Maybe):
        if value is not None:
            yield from differences(value, shape.shape, path)
    elif isinstance(shape, set):
        if value not in shape:
            yield f"{path}: {value!r} is none of {sorted(shape)}"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
            return
        for index, item in enumerate(value):
            yield from differences(item, shape[0], f"{path}/{index}")
    elif isinstance(shape, dict):
        yield from _field_differences(value, shape, path)
    elif not shape(value):
        yield f"{path}: {value!r} is no {getattr(shape, '__name__', shape)}"


def _field_differences(value: Any, shape: dict[str, Any], path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no map"
        return
    for listed, inner in shape.items():
        name = listed.removesuffix("?")
        if name in value:
            yield from differences(value[name], inner, f"{path}/{name}")
        elif name == listed:
            yield f"{path}/{name} is missing"
    unlisted = sorted(value.keys() - {name.removesuffix("?") for name in shape})
    if unlisted:
        _LOG.warning("fields that the contract does not list: %s %s", path, ", ".join(unlisted))


def assert_shape(value: Any, shape: Any, path: str = "") -> None:
    found = list(differences(value, shape, path))
    assert not found, "; ".join(found)


def assert_frame(frame: Frame) -> None:
    """Check that a server frame has the fields that the contract lists for its type."""
    fields = {name: value for name, value in frame.items() if name != "type"}
    assert_shape(fields, FRAMES[frame["type"]], frame["type"])
