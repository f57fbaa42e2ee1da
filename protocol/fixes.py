"""A batch of position fixes keeps its good ones: one bad reading must not cost a phone the rest."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from protocol.fields import EpochMs
from protocol.messages import MAX_FIXES, Fix

LooseList = Annotated[list[Any], Meta(min_length=1, max_length=MAX_FIXES)]


class LooseLocation(Struct, frozen=True, tag_field="type", tag="location"):
    """``messages.Location`` with its fixes unchecked."""

    fixes: LooseList
    now_ms: EpochMs | UnsetType = UNSET


class LooseFixes(Struct, frozen=True, forbid_unknown_fields=True):
    """``resources.FixesRequest`` with its fixes unchecked."""

    fixes: LooseList


def keep_good(fixes: list[Any]) -> tuple[tuple[Fix, ...], int]:
    """Return the fixes of the right shape and range, in their order, and how many were dropped."""
    good: list[Fix] = []
    for fix in fixes:
        try:
            good.append(msgspec.convert(fix, Fix))
        except msgspec.ValidationError:
            continue
    return tuple(good), len(fixes) - len(good)
