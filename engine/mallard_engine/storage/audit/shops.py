"""The audit's rule `shop`: what each shop of a job has handed over fits the order and the state.

The order is read as the scripts read it (`lib/shops.lua`), with the same defaults.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from mallard_engine.core.model import TRANSFER, Job, Shop
from mallard_protocol.codes import OnShort
from mallard_protocol.lifecycle import ON_BOARD, JobState, ShopState

_FAILED_FOR: Final = frozenset({"not_at_counter", "store_closed", "short"})
# What something collected implies: it is on board, or was.
_CARRIED: Final = ON_BOARD | {JobState.DELIVERED, JobState.RETURNED, JobState.LOST}
_LACKING: Final = frozenset({ShopState.MISSING, ShopState.SHORT})


class _Ordered(msgspec.Struct):
    store: str
    parcels: int = 1


class _Pickup(msgspec.Struct):
    stores: tuple[_Ordered, ...] = ()


class _Order(msgspec.Struct):
    pickup: _Pickup = msgspec.field(default_factory=_Pickup)
    on_short: str = OnShort.DELIVER


_decode: Final = msgspec.json.Decoder(_Order).decode


def judge_shops(job: Job) -> Iterator[tuple[str, str]]:
    """Check the shops of a job, its hold, and why it failed."""
    if job.kind == TRANSFER:
        return
    yield from _hold(job)
    if job.state is JobState.FAILED and job.reason not in _FAILED_FOR:
        yield "shop", f"it failed with the reason {job.reason!r}"
    if not job.shops:
        return
    try:
        order = _decode(job.body)
    except msgspec.MsgspecError as error:
        yield "record", f"its order cannot be read: {error}"
        return
    yield from _collected(job, {shop.store: shop.parcels for shop in order.pickup.stores})
    is_offered = job.state in (JobState.QUEUED, JobState.OFFERED)
    if is_offered and (lacking := _unanswered(job, order.on_short)):
        yield "shop", f"it is {job.state}, but {lacking} lacks parcels and has not answered"


def _hold(job: Job) -> Iterator[tuple[str, str]]:
    hold = job.hold
    if hold is None:
        return
    if job.state is not JobState.SCHEDULED:
        yield "shop", f"it is {job.state}, but held for {hold.store}"
    elif hold.until_ms != job.release_ms:
        yield "shop", f"it is held until {hold.until_ms}, but released at {job.release_ms}"


def _collected(job: Job, ordered: dict[str, int]) -> Iterator[tuple[str, str]]:
    for shop in job.shops:
        if not 0 <= shop.collected <= ordered.get(shop.store, 0):
            of = ordered.get(shop.store, 0)
            yield "shop", f"{shop.collected} of {of} parcels of {shop.store} are collected"
    if any(shop.collected for shop in job.shops) and job.state not in _CARRIED:
        yield "shop", f"it is {job.state}, but parcels are collected"


def _unanswered(job: Job, on_short: str) -> str:
    """Return the shop for which the job must wait; empty: none. As in `lib/hold_end.lua`."""
    lacking = [it.store for it in job.shops if not it.collected and it.state in _LACKING]
    waits = on_short == OnShort.HOLD or not any(map(_may_hand_over, job.shops))
    return lacking[-1] if lacking and waits else ""


def _may_hand_over(shop: Shop) -> bool:
    is_short = shop.state is ShopState.SHORT and not shop.collected and bool(shop.there)
    return is_short or shop.state in (ShopState.WAITING, ShopState.READY, ShopState.CLOSED)
