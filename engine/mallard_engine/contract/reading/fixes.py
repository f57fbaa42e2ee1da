"""Reads position fixes as apps send them.

A fix is dropped only if its time or its position is malformed. Devices write -1, NaN or a
platform's own value for "unknown" into the other fields, or omit trailing ones; those count as
unknown, so a valid position is never lost. The same rules apply to `location`, `hello.position` and
`POST /v1/driver/locations`.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from mallard_protocol.fields import (
    MAX_ACCURACY_M,
    MAX_EPOCH_MS,
    MAX_HEADING_DEG,
    MAX_LAT,
    MAX_LON,
    MAX_SPEED_MPS,
    EpochMs,
)
from mallard_protocol.messages import MAX_FIXES, Fix, HelloPosition

LooseList = Annotated[list[Any], Meta(min_length=1, max_length=MAX_FIXES)]
_NEEDED: Final = 3
_NOTHING: Final = (None, None, None)


class LooseLocation(Struct, frozen=True, tag_field="type", tag="location"):
    """`messages.Location` with unchecked fixes."""

    fixes: LooseList
    now_ms: EpochMs | UnsetType = UNSET


class LooseFixes(Struct, frozen=True, forbid_unknown_fields=True):
    """`resources.FixesRequest` with unchecked fixes."""

    fixes: LooseList


def read_fix(raw: Any) -> Fix | None:
    """Return a fix in its final types; None if its time or position is malformed.

    Missing trailing elements count as nil, additional ones are ignored. A fraction of a millisecond
    is rounded down. An accuracy, heading or speed that is not a number in its range becomes None.
    """
    if not isinstance(raw, list | tuple) or len(raw) < _NEEDED:
        return None
    at_ms, lat, lon = raw[:_NEEDED]
    if not (
        _is_within(at_ms, 0, MAX_EPOCH_MS)
        and _is_within(lat, -MAX_LAT, MAX_LAT)
        and _is_within(lon, -MAX_LON, MAX_LON)
    ):
        return None
    acc_m, heading_deg, speed_mps = (*raw[_NEEDED : 2 * _NEEDED], *_NOTHING)[:_NEEDED]
    return (
        math.floor(at_ms),
        float(lat),
        float(lon),
        _known(acc_m, MAX_ACCURACY_M),
        _known(heading_deg, MAX_HEADING_DEG),
        _known(speed_mps, MAX_SPEED_MPS),
    )


def keep_valid(fixes: Iterable[Any]) -> tuple[tuple[Fix, ...], int]:
    """Return the valid fixes in their order, and the number of dropped ones."""
    read = [read_fix(fix) for fix in fixes]
    valid = tuple(fix for fix in read if fix is not None)
    return valid, len(read) - len(valid)


def read_position(raw: Any) -> HelloPosition | None:
    """Return the position of a `hello` by the rules of a fix; None if it is malformed."""
    if not isinstance(raw, dict):
        return None
    at_ms = raw.get("at_ms")
    fix = read_fix(
        (0 if at_ms is None else at_ms, raw.get("lat"), raw.get("lon"), raw.get("acc_m"))
    )
    if fix is None:
        return None
    return HelloPosition(
        lat=fix[1],
        lon=fix[2],
        acc_m=UNSET if fix[3] is None else fix[3],
        at_ms=UNSET if at_ms is None else fix[0],
    )


def _is_within(value: Any, lowest: float, highest: float) -> bool:
    # A bool is not a number here, and NaN is in no range.
    return type(value) in {int, float} and lowest <= value <= highest


def _known(value: Any, highest: float) -> float | None:
    return float(value) if _is_within(value, 0, highest) else None
