"""From an order service's request to what the store is asked to keep. Pure: the time is given.

What is ready while the mall is closed, or too late to be carried out before it closes, is collected
from the next opening on, if the order's window and deadline allow that; else the mall is closed to
it. So an order may be placed overnight for the morning. The window ends with the deadline unless
the order says otherwise: what no driver collects before closing waits for the next opening
(`mallard_engine.core.pickup.pickup_deadline`). Defaults that are filled in are whole seconds in
UTC.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from mallard_engine.core.model import Need, Submission
from mallard_engine.core.pickup.pickup_deadline import ready_no_sooner
from mallard_engine.core.places.markets import Mall, Places
from mallard_engine.core.places.opening_hours import next_collection_ms
from mallard_engine.gateway.orders.stored_order import filled
from mallard_engine.gateway.socket.payloads import card
from mallard_engine.gateway.timestamps import epoch_ms, utc
from mallard_protocol.codes import ID_CHECK, ProblemCode
from mallard_protocol.instants import EARLIEST_MS, LATEST_MS
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import FieldError, JobRequest, ParcelsRequest

_DEADLINE_AFTER: Final = timedelta(hours=24)


class InvalidOrder(Exception):
    """The order cannot be taken. ``code``: ``invalid_fields`` or ``mall_closed``; ``market``: whose
    it would have been, None when its mall is unknown."""

    def __init__(self, errors: tuple[FieldError, ...], market: str | None, *, closed: bool) -> None:
        super().__init__("; ".join(f"{error.pointer}: {error.detail}" for error in errors))
        self.code = ProblemCode.MALL_CLOSED if closed else ProblemCode.INVALID_FIELDS
        self.errors = errors
        self.market = market


@dataclass(frozen=True, slots=True)
class Order:
    """A request that can be carried out, with its defaults filled in."""

    request: JobRequest
    mall: Mall
    need: Need

    @property
    def body(self) -> bytes:
        """The request as it is stored: JSON."""
        return msgspec.json.encode(self.request)

    def card(self, arrived_ms: int = 0) -> bytes:
        """What a driver may see before accepting; ``arrived_ms``: since when the job waits."""
        return card(self.request, self.mall, arrived_ms)


def read_order(request: JobRequest, places: Places, now_ms: int) -> Order:
    """Check a request against places and time, and fill in its defaults.

    Raises ``InvalidOrder`` with everything that is wrong.
    """
    mall = places.malls.get(request.pickup.mall)
    filled = _with_defaults(request, now_ms)
    errors = tuple(_errors(request, filled, mall, places, now_ms))
    closed = () if mall is None else tuple(_closed(filled, mall, now_ms))
    if mall is None or errors or closed:
        market = mall.market if mall else None
        raise InvalidOrder((*errors, *closed), market, closed=not errors)
    return Order(filled, mall, _need(filled, mall, now_ms))


def submission_of(
    order: Order, *, job: str, service: str, key: str, body_hash: str, release_ms: int, now_ms: int
) -> Submission:
    """What the store is asked to keep. ``release_ms``: when to look for a driver; held back if that
    is after ``now_ms``."""
    request, mall = order.request, order.mall
    return Submission(
        job=job,
        market=mall.market,
        service=service,
        mall=mall.id,
        key=key,
        body_hash=body_hash,
        external_id=None if request.external_id is UNSET else request.external_id,
        state=JobState.SCHEDULED if release_ms > now_ms else JobState.QUEUED,
        release_ms=release_ms,
        body=order.body,
        card=order.card(max(now_ms, release_ms)),
        need=order.need,
        needs_age_check=ID_CHECK in request.requires,
        pin="" if request.dropoff.pin is UNSET else request.dropoff.pin,
        pickup_codes=tuple(
            store.pickup_code for store in request.pickup.stores if store.pickup_code is not UNSET
        ),
    )


def with_ready_at(
    order: Order, store: str, ready_at: datetime, now_ms: int, *, is_held: bool = False
) -> Order:
    """The order once the parcels of ``store`` are ready at another time.

    When it expires stays. While a driver holds the job (``is_held``) it does not expire.

    Raises ``InvalidOrder``.
    """
    mall, pickup = order.mall, order.request.pickup
    at_ms, errors = epoch_ms(ready_at), []
    if all(asked.store != store for asked in pickup.stores):
        errors.append(FieldError("/store", "not a store of this job"))
    stores = tuple(
        msgspec.structs.replace(asked, ready_at=ready_at) if asked.store == store else asked
        for asked in pickup.stores
    )
    request = msgspec.structs.replace(
        order.request, pickup=msgspec.structs.replace(pickup, stores=stores)
    )
    expires_ms = order.need.expires_ms
    from_ms = at_ms if errors else _from_ms(request, mall, now_ms)
    if not EARLIEST_MS <= from_ms < (LATEST_MS if is_held else expires_ms):
        errors.append(FieldError("/ready_at", "not before the job expires"))
    if errors:
        raise InvalidOrder(tuple(errors), mall.market, closed=False)
    need = replace(order.need, ready_ms=_ready_ms(request), store_ready_ms=_store_ready_ms(request))
    need = ready_no_sooner(need, from_ms)
    return Order(request, mall, need)


def _with_defaults(request: JobRequest, now_ms: int) -> JobRequest:
    pickup, dropoff = request.pickup, request.dropoff
    now = utc(now_ms // 1000 * 1000)
    stores = tuple(
        msgspec.structs.replace(asked, ready_at=now) if asked.ready_at is UNSET else asked
        for asked in pickup.stores
    )
    deadline = now + _DEADLINE_AFTER if dropoff.deadline is UNSET else dropoff.deadline
    request = msgspec.structs.replace(
        request,
        pickup=msgspec.structs.replace(pickup, stores=stores),
        dropoff=msgspec.structs.replace(dropoff, deadline=deadline),
    )
    window_end = deadline if pickup.window_end is UNSET else pickup.window_end
    parcels = request.parcels
    if parcels is UNSET:
        parcels = ParcelsRequest(count=sum(asked.parcels for asked in stores))
    return msgspec.structs.replace(
        request,
        pickup=msgspec.structs.replace(request.pickup, window_end=window_end),
        parcels=parcels,
    )


def _errors(
    request: JobRequest, filled: JobRequest, mall: Mall | None, places: Places, now_ms: int
) -> Iterator[FieldError]:
    pickup, dropoff = filled.pickup, filled.dropoff
    if mall is None:
        yield FieldError("/pickup/mall", "unknown mall")
    seen = set()
    for index, asked in enumerate(pickup.stores):
        pointer = f"/pickup/stores/{index}"
        if mall is not None and asked.store not in mall.stores:
            yield FieldError(f"{pointer}/store", "unknown store of this mall")
        elif asked.store in seen:
            yield FieldError(f"{pointer}/store", "the same store twice")
        seen.add(asked.store)
    if mall is not None and not places.in_area(mall.market, dropoff.lat, dropoff.lon):
        yield FieldError("/dropoff", f"outside the area of {mall.market}")
    collect_ms = _collect_ms(filled, now_ms)
    if request.pickup.window_end is not UNSET and _ms(pickup.window_end) <= collect_ms:
        yield FieldError("/pickup/window_end", "not after now and every ready_at")
    if _ms(dropoff.deadline) <= collect_ms:
        default = " (24 h from now when missing)" if request.dropoff.deadline is UNSET else ""
        yield FieldError("/dropoff/deadline", f"not after now and every ready_at{default}")


def _closed(filled: JobRequest, mall: Mall, now_ms: int) -> Iterator[FieldError]:
    opens_ms = _opens_ms(filled, mall, now_ms)
    ends_ms = min(_ms(filled.pickup.window_end), _ms(filled.dropoff.deadline))
    if opens_ms > _collect_ms(filled, now_ms) and ends_ms <= opens_ms + _walk_ms(filled, mall):
        yield FieldError(
            "/pickup/mall", "closed when the parcels are ready, and not open again in time"
        )


def _need(request: JobRequest, mall: Mall, now_ms: int) -> Need:
    """What a round must know of the order, all defaults filled in."""
    dropoff, parcels = request.dropoff, filled(request.parcels)
    deadline_ms = _ms(dropoff.deadline)
    need = Need(
        stores=tuple(asked.store for asked in request.pickup.stores),
        ready_ms=_ready_ms(request),
        deadline_ms=deadline_ms,
        expires_ms=min(_ms(request.pickup.window_end), deadline_ms),
        lat=dropoff.lat,
        lon=dropoff.lon,
        parcels=parcels.count,
        weight_g=parcels.weight_g,
        volume_l=parcels.volume_l,
        requires=request.requires,
        priority=request.priority,
        created_ms=now_ms,
        pay_minor=0 if request.pay is UNSET else request.pay.amount_minor,
        store_ready_ms=_store_ready_ms(request),
    )
    return ready_no_sooner(need, _from_ms(request, mall, now_ms))


def _opens_ms(request: JobRequest, mall: Mall, now_ms: int) -> int:
    """From when on an order can be collected while the mall is open."""
    at_ms = _collect_ms(request, now_ms)
    return next_collection_ms(mall.hours, at_ms, _walk_ms(request, mall))[0]


def _walk_ms(request: JobRequest, mall: Mall) -> int:
    """The least that collecting takes: the walk to the parcels."""
    stores = [asked.store for asked in request.pickup.stores]
    return (
        max([mall.stores[store].walk_s for store in stores if store in mall.stores], default=0)
        * 1000
    )


def _from_ms(request: JobRequest, mall: Mall, now_ms: int) -> int:
    """When everything is ready and the mall open; as sent, where it is open then anyway."""
    opens_ms = _opens_ms(request, mall, now_ms)
    return opens_ms if opens_ms > _collect_ms(request, now_ms) else _ready_ms(request)


def _collect_ms(request: JobRequest, now_ms: int) -> int:
    """When all parcels could first be collected."""
    return max(now_ms, _ready_ms(request))


def _ready_ms(request: JobRequest) -> int:
    return max(_ms(asked.ready_at) for asked in request.pickup.stores)


def _store_ready_ms(request: JobRequest) -> tuple[int, ...]:
    """When each of several stores is ready; of one, ``ready_ms`` tells it."""
    stores = request.pickup.stores
    return tuple(_ms(asked.ready_at) for asked in stores) if len(stores) > 1 else ()


def _ms(at: datetime | UnsetType) -> int:
    return epoch_ms(filled(at))
