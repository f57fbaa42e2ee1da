"""Parses query parameters and headers. An invalid one is answered with 400 `bad_request`."""

import math
import re
from datetime import timedelta
from typing import Final

from starlette.requests import Request

from mallard_engine.contract.reading.instants import read_instant
from mallard_engine.gateway.http.problems import HttpProblem
from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol.codes import ProblemCode
from mallard_protocol.fields import ID_PATTERN

_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,20})?")
_KEY: Final = re.compile(r"[!-~]{1,255}")
_ID: Final = re.compile(ID_PATTERN)
_MAX_NAME_SHOWN: Final = 64
_ALMOST_ONE_MS: Final = timedelta(microseconds=999)


def bad_request(detail: str) -> HttpProblem:
    """Return a 400 with this detail."""
    return HttpProblem(ProblemCode.BAD_REQUEST, detail)


def check_query(request: Request, allowed: frozenset[str]) -> None:
    """Refuse a query parameter that is not allowed or is given twice."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in allowed:
            known = f"; known here: {', '.join(sorted(allowed))}" if allowed else ""
            raise bad_request(f"unknown query parameter {name[:_MAX_NAME_SHOWN]!r}{known}")
        if name in seen:
            raise bad_request(f"query parameter {name!r} is given twice")
        seen.add(name)


def is_id(text: str) -> bool:
    """Whether the text has the form of an id. Only such ids are passed to the store."""
    return _ID.match(text) is not None


def whole_number(request: Request, name: str, *, low: int, high: int, default: int) -> int:
    """Return an integer query parameter, `low` to `high` inclusive."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
        raise bad_request(f"{name} is a whole number from {low} to {high}")
    return int(text)


def instant_ms(request: Request, name: str, *, default: int) -> int:
    """Return a time query parameter in epoch milliseconds, rounded up.

    Stored times are whole milliseconds, so comparing them with the rounded time gives the same
    result as comparing them with the exact one.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        at = read_instant(text)
    except ValueError as error:
        # An unescaped plus sign arrives as a space.
        hint = "; write + as %2B" if " " in text else ""
        raise bad_request(f"{name} is {error}{hint}") from None
    return epoch_ms(at + _ALMOST_ONE_MS)


def metres(request: Request, name: str, *, high: float, default: float) -> float:
    """Return a distance query parameter, above 0 and at most `high`."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text) or not 0 < float(text) <= high:
        raise bad_request(f"{name} is a number above 0, at most {high:g}")
    return float(text)


def point(request: Request, name: str) -> tuple[float, float] | None:
    """Return a `latitude,longitude` query parameter in degrees; None if it is missing."""
    text = request.query_params.get(name)
    if text is None:
        return None
    parts = text.split(",")
    numbers = [float(part) if _NUMBER.fullmatch(part) else math.nan for part in parts]
    if len(numbers) != 2 or not (abs(numbers[0]) <= 90 and abs(numbers[1]) <= 180):
        raise bad_request(f"{name} is latitude,longitude in degrees")
    return numbers[0], numbers[1]


def idempotency_key(request: Request) -> str:
    """Return the `Idempotency-Key` header."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        raise HttpProblem(ProblemCode.IDEMPOTENCY_KEY_MISSING, "send a key that you generate")
    return checked_key(keys[0] if len(keys) == 1 else "")


def checked_key(key: object) -> str:
    """Return an idempotency key that has the form of one."""
    if key is None:
        raise HttpProblem(ProblemCode.IDEMPOTENCY_KEY_MISSING, "send a key that you generate")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise HttpProblem(
            ProblemCode.IDEMPOTENCY_KEY_INVALID, "one key of 1-255 visible ASCII characters"
        )
    return key
