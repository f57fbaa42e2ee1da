"""Checks an order and derives what Redis must keep. Pure: the time is an argument.

If the parcels are ready while the mall is closed, or too late to be collected before it closes,
they are collected from the next opening on, provided that the order's window and deadline allow it.
Otherwise the order is refused with `mall_closed`. So an order may be placed overnight for the
morning. An order that no driver has collected before closing waits for the next opening
(`mallard_engine.core.pickup.pickup_deadline`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from msgspec import UNSET

from mallard_engine.core.model import Need, Submission
from mallard_engine.core.pickup.pickup_deadline import ready_no_sooner
from mallard_engine.core.places.markets import Mall, Places
from mallard_engine.core.places.opening_hours import next_collection_ms
from mallard_engine.gateway.orders.complete_order import CompleteOrder
from mallard_engine.gateway.orders.sandbox import sandbox_errors, sandbox_need
from mallard_engine.gateway.socket.payloads import card
from mallard_engine.gateway.timestamps import epoch_ms
from mallard_protocol.codes import OnUndeliverable, ProblemCode, RequiredProof, ServiceLevel
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import FieldError, JobRequest

_IMAGES = frozenset({RequiredProof.PHOTO, RequiredProof.SIGNATURE})


class InvalidOrder(Exception):
    """The order is refused.

    `code` is `invalid_fields` or `mall_closed`. `market` is the market of its mall, None if the
    mall is unknown.
    """

    def __init__(self, errors: tuple[FieldError, ...], market: str | None, *, closed: bool) -> None:
        super().__init__("; ".join(f"{error.pointer}: {error.detail}" for error in errors))
        self.code = ProblemCode.MALL_CLOSED if closed else ProblemCode.INVALID_FIELDS
        self.errors = errors
        self.market = market
        self.is_closed = closed


@dataclass(frozen=True, slots=True)
class ValidOrder:
    """An order that can be carried out, its mall, and what a dispatch round must know of it."""

    order: CompleteOrder
    mall: Mall
    need: Need

    def card(self, arrived_ms: int = 0) -> bytes:
        """Pack what a driver may see before accepting.

        Args:
            arrived_ms: when the job came in, epoch milliseconds; 0 if that is not measured.
        """
        return card(self.order, self.mall, arrived_ms)


def read_order(
    request: JobRequest, places: Places, preset: Callable[[str], ServiceLevel], now_ms: int
) -> ValidOrder:
    """Fill in a request's defaults and check it against places and time.

    Args:
        request: the order as it came.
        places: the markets and malls.
        preset: returns the service level of a market's orders that name none.
        now_ms: the present in epoch milliseconds.

    Raises:
        InvalidOrder: with every error, not only the first.
    """
    mall = places.malls.get(request.pickup.mall)
    level = preset(mall.market) if mall else ServiceLevel.POOLED
    order = CompleteOrder.from_request(request, level, now_ms)
    errors = tuple(_errors(request, order, mall, places, now_ms))
    closed = () if mall is None else tuple(_closed(order, mall, now_ms))
    if mall is None or errors or closed:
        market = mall.market if mall else None
        raise InvalidOrder((*errors, *closed), market, closed=not errors)
    need = replace(_need(order, mall, now_ms), service_level=order.service_level or level)
    return ValidOrder(order, mall, need)


def changed_order(
    was: ValidOrder,
    requests: tuple[JobRequest, JobRequest],
    places: Places,
    preset: ServiceLevel,
    now_ms: int,
    *,
    changed: frozenset[str],
    is_to_collect: bool,
    is_free: bool,
) -> ValidOrder:
    """Return a stored order with changes, checked as a new one would be.

    What the order as it was would not pass now either is no error of the change.

    Args:
        was: the stored order.
        requests: the request that amounts to it, and the one with the changes.
        places: the markets and malls.
        preset: the service level of an order that names none.
        now_ms: the present in epoch milliseconds.
        changed: the pointers of the fields that change, as `FIXED_FROM` has them.
        is_to_collect: nothing is on board yet.
        is_free: no driver holds it.

    Raises:
        InvalidOrder: with every error, not only the first.
    """
    old, mall = was.order, was.mall
    order = CompleteOrder.from_request(requests[1], preset, now_ms)
    known = {it.pointer for it in _errors(requests[0], old, mall, places, now_ms)}
    errors = [
        _as_named(error, changed)
        for error in _errors(requests[1], order, mall, places, now_ms)
        if error.pointer not in known or any(it.startswith(error.pointer) for it in changed)
    ]
    times_change = not changed.isdisjoint(_TIMES)
    closed = tuple(_closed(order, mall, now_ms)) if times_change and is_to_collect else ()
    if errors or closed:
        raise InvalidOrder((*errors, *closed), mall.market, closed=not errors)
    need = replace(
        _need(order, mall, now_ms),
        created_ms=was.need.created_ms,
        service=was.need.service,
        service_level=order.service_level or preset,
        jobs=was.need.jobs,
        done=was.need.done,
    )
    if not times_change or not (is_free or _READY_AT in changed):
        # A mall that has closed since does not make its driver wait for the next opening.
        need = replace(need, ready_ms=was.need.ready_ms, store_ready_ms=was.need.store_ready_ms)
    return ValidOrder(order, mall, need)


_READY_AT: Final = "/pickup/stores/*/ready_at"
_TIMES: Final = frozenset({_READY_AT, "/pickup/window_end", "/dropoff/deadline"})


def _as_named(error: FieldError, changed: frozenset[str]) -> FieldError:
    """Point at the field that has changed: a later `ready_at` may be after an unchanged end."""
    if error.pointer in _TIMES - changed and _READY_AT in changed:
        return FieldError("/pickup/stores", f"ready_at: not before {error.pointer}")
    return error


def submission_of(
    valid: ValidOrder,
    *,
    job: str,
    service: str,
    key: str,
    body_hash: str,
    release_ms: int,
    now_ms: int,
    handover_key: str = "",
    tracking: str = "",
) -> Submission:
    """Return what Redis keeps of an order.

    Args:
        release_ms: when the search for a driver begins; the job is scheduled if that is after
            `now_ms`.
        handover_key: random, for the codes that drivers show at the counter.
        tracking: random, the token of the customer's link.
    """
    order, mall = valid.order, valid.mall
    return Submission(
        job=job,
        market=mall.market,
        service=service,
        mall=mall.id,
        key=key,
        body_hash=body_hash,
        external_id=None if order.external_id is UNSET else order.external_id,
        state=JobState.SCHEDULED if release_ms > now_ms else JobState.QUEUED,
        release_ms=release_ms,
        body=order.body,
        card=valid.card(max(now_ms, release_ms)),
        need=valid.need,
        needs_age_check=RequiredProof.AGE_CHECK in order.needed_proof,
        images_required=tuple(kind for kind in order.shown_proof if kind in _IMAGES),
        pin="" if order.dropoff.pin is UNSET else order.dropoff.pin,
        customer_ref=order.dropoff.customer_ref or "",
        pickup_codes=tuple(
            store.pickup_code for store in order.pickup.stores if store.pickup_code is not UNSET
        ),
        handover_key=handover_key,
        tracking=tracking,
    )


def with_ready_at(
    valid: ValidOrder, store: str, ready_at: datetime, now_ms: int, *, is_held: bool = False
) -> ValidOrder:
    """Return the order with another ready time for the parcels of a store.

    The time at which it expires does not change.

    Args:
        is_held: a driver holds the job, so it does not expire.

    Raises:
        InvalidOrder: it has no such store, or would be ready only after it expires.
    """
    mall = valid.mall
    order = valid.order.with_ready_at(store, ready_at)
    errors = []
    if all(it.store != store for it in order.pickup.stores):
        errors.append(FieldError("/store", "not a store of this job"))
    from_ms = epoch_ms(ready_at) if errors else _from_ms(order, mall, now_ms)
    if not EARLIEST_MS <= from_ms < (LATEST_MS if is_held else valid.need.expires_ms):
        errors.append(FieldError("/ready_at", "not before the job expires"))
    if errors:
        raise InvalidOrder(tuple(errors), mall.market, closed=False)
    need = replace(valid.need, ready_ms=order.ready_ms, store_ready_ms=_store_ready_ms(order))
    return ValidOrder(order, mall, ready_no_sooner(need, from_ms))


def _errors(
    request: JobRequest, order: CompleteOrder, mall: Mall | None, places: Places, now_ms: int
) -> Iterator[FieldError]:
    dropoff = order.dropoff
    yield from sandbox_errors(order, mall)
    if mall is None:
        yield FieldError("/pickup/mall", "unknown mall")
    seen = set()
    for index, asked in enumerate(order.pickup.stores):
        pointer = f"/pickup/stores/{index}"
        if mall is not None and asked.store not in mall.stores:
            yield FieldError(f"{pointer}/store", "unknown store of this mall")
        elif asked.store in seen:
            yield FieldError(f"{pointer}/store", "the same store twice")
        seen.add(asked.store)
    if mall is not None and not places.in_area(mall.market, dropoff.lat, dropoff.lon):
        yield FieldError("/dropoff", f"outside the area of {mall.market}")
    pay = order.pay
    if pay is not UNSET and pay.max_minor is not UNSET and pay.max_minor < pay.amount_minor:
        yield FieldError("/pay/max_minor", "less than amount_minor")
    if order.on_undeliverable is OnUndeliverable.LEAVE and order.needs_person:
        yield FieldError("/on_undeliverable", "leave: a PIN or a check needs somebody at the door")
    if RequiredProof.PIN in order.proof_required and dropoff.pin is UNSET:
        yield FieldError("/dropoff/pin", "proof_required names a pin")
    for index, kind in enumerate(order.proof_required):
        if kind in order.proof_required[:index]:
            yield FieldError(f"/proof_required/{index}", "the same proof twice")
    collect_ms = _collect_ms(order, now_ms)
    if request.pickup.window_end is not UNSET and order.window_end_ms <= collect_ms:
        yield FieldError("/pickup/window_end", "not after now and every ready_at")
    if order.deadline_ms <= collect_ms:
        default = " (24 h from now when missing)" if request.dropoff.deadline is UNSET else ""
        yield FieldError("/dropoff/deadline", f"not after now and every ready_at{default}")


def _closed(order: CompleteOrder, mall: Mall, now_ms: int) -> Iterator[FieldError]:
    opens_ms = _opens_ms(order, mall, now_ms)
    ends_ms = min(order.window_end_ms, order.deadline_ms)
    if opens_ms > _collect_ms(order, now_ms) and ends_ms <= opens_ms + _walk_ms(order, mall):
        yield FieldError(
            "/pickup/mall", "closed when the parcels are ready, and not open again in time"
        )


def _need(order: CompleteOrder, mall: Mall, now_ms: int) -> Need:
    dropoff, parcels = order.dropoff, order.parcels
    need = Need(
        stores=tuple(asked.store for asked in order.pickup.stores),
        ready_ms=order.ready_ms,
        deadline_ms=order.deadline_ms,
        expires_ms=min(order.window_end_ms, order.deadline_ms),
        lat=dropoff.lat,
        lon=dropoff.lon,
        parcels=parcels.count,
        weight_g=parcels.weight_g,
        volume_l=parcels.volume_l,
        requires=order.requires,
        priority=order.priority,
        created_ms=now_ms,
        pay_minor=0 if order.pay is UNSET else order.pay.amount_minor,
        pay_max_minor=_pay_max_minor(order),
        store_ready_ms=_store_ready_ms(order),
    )
    need = sandbox_need(need, order, mall.market)
    return ready_no_sooner(need, _from_ms(order, mall, now_ms))


def _pay_max_minor(order: CompleteOrder) -> int:
    """To what the pay may rise; 0: it does not."""
    if order.pay is UNSET or order.pay.max_minor is UNSET:
        return 0
    return order.pay.max_minor


def _opens_ms(order: CompleteOrder, mall: Mall, now_ms: int) -> int:
    """When the parcels are ready and the mall is open long enough to collect them."""
    at_ms = _collect_ms(order, now_ms)
    hours = mall.hours_of([asked.store for asked in order.pickup.stores])
    return next_collection_ms(hours, at_ms, _walk_ms(order, mall))[0]


def _walk_ms(order: CompleteOrder, mall: Mall) -> int:
    """The least time that collecting takes: the walk to the farthest store."""
    stores = [asked.store for asked in order.pickup.stores]
    return (
        max([mall.stores[store].walk_s for store in stores if store in mall.stores], default=0)
        * 1000
    )


def _from_ms(order: CompleteOrder, mall: Mall, now_ms: int) -> int:
    """The earliest collection: the next opening, or the ready time if the mall is open then."""
    opens_ms = _opens_ms(order, mall, now_ms)
    return opens_ms if opens_ms > _collect_ms(order, now_ms) else order.ready_ms


def _collect_ms(order: CompleteOrder, now_ms: int) -> int:
    """When all parcels could be collected if the mall were always open."""
    return max(now_ms, order.ready_ms)


def _store_ready_ms(order: CompleteOrder) -> tuple[int, ...]:
    """When each of several stores is ready; empty for one store, which `Need.ready_ms` covers."""
    stores = order.pickup.stores
    return tuple(asked.ready_ms for asked in stores) if len(stores) > 1 else ()
