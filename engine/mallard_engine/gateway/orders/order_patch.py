"""Merges a patch into an order and checks the result. Pure: the time is an argument.

The result is checked by the rule of a submission (`intake`), without what the present order would
not pass either: a shop may have closed since, or a window may have passed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, structs

from mallard_engine.contract.reading.bodies import body_as
from mallard_engine.core.model import Job
from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.orders.complete_order import CompleteOrder, order_of, pay_of
from mallard_engine.gateway.orders.intake import InvalidOrder, ValidOrder, changed_order
from mallard_protocol.changes import FIXED_FROM, JobPatch, PickupChange
from mallard_protocol.codes import ServiceLevel
from mallard_protocol.lifecycle import BEFORE_PICKUP, JobState
from mallard_protocol.resources import DropoffRequest, FieldError, JobRequest, Pay, Pickup
from mallard_protocol.resources import PickupStore as Store

_STORES: Final = "/pickup/stores"
_TIMES: Final = frozenset({"ready_at", "window_end", "deadline"})
_PLACE: Final = frozenset({"/dropoff/lat", "/dropoff/lon", "/dropoff/address"})
_EARLY: Final = frozenset({JobState.SCHEDULED, JobState.QUEUED, JobState.OFFERED})
_STATES_BEFORE: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.ASSIGNED: _EARLY,
    JobState.PICKED_UP: BEFORE_PICKUP,
}


class TooLate(Exception):
    """Some of the fields are fixed by now."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{error.pointer}: {error.detail}" for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class PatchedOrder:
    """The order with a patch applied.

    `fields`: the JSON pointers, in the patch, of what it changes; empty if it changes nothing.
    `stores`: the stores whose own fields change. `times_change`: when to collect or deliver it.
    """

    valid: ValidOrder
    fields: tuple[str, ...]
    stores: tuple[str, ...]

    @property
    def times_change(self) -> bool:
        """Whether it is ready, or due, at another time."""
        return any(field.rpartition("/")[2] in _TIMES for field in self.fields)

    @property
    def is_moved(self) -> bool:
        """Whether the drop-off is at another place."""
        return not _PLACE.isdisjoint(self.fields)

    @property
    def until(self) -> JobState | None:
        """The state from which on one of the fields is fixed; a store's own have no such state."""
        fixed = {FIXED_FROM[field] for field in self.fields if not field.startswith(_STORES)}
        earliest = (JobState.ASSIGNED, JobState.PICKED_UP)
        return next((state for state in earliest if state in fixed), None)


def patch_order(
    job: Job, patch: JobPatch, places: Places, preset: ServiceLevel, now_ms: int
) -> PatchedOrder:
    """Return the order of a job with a patch applied.

    Raises:
        TooLate: some of the fields are fixed by now.
        InvalidBody: it is no longer a valid order.
        InvalidOrder: with every error, not only the first.
    """
    order = order_of(job)
    level = job.need.service_level or preset
    shown = _request_of(order, pay_of(job, order), level)
    errors = list(_misplaced(patch, shown))
    if errors:
        raise InvalidOrder(tuple(errors), job.market, closed=False)
    # Merged parts may together be too many, such as keys of `metadata`.
    wanted = body_as(msgspec.to_builtins(_merged(shown, patch)), JobRequest)
    fields = tuple(_changes(shown, wanted, patch))
    if late := tuple(_too_late(job, fields, patch)):
        raise TooLate(late)
    if errors := list(_less_pay(shown.pay, wanted.pay)):
        raise InvalidOrder(tuple(errors), job.market, closed=False)
    if shown.pay == wanted.pay:  # a pay that has risen is stored separately
        wanted = structs.replace(wanted, pay=order.pay)
    mall = places.mall(job.mall)
    valid = changed_order(
        ValidOrder(order, mall, job.need),
        (_request_of(order, order.pay, level), wanted),
        places,
        preset,
        now_ms,
        changed=frozenset(_plain(field) for field in fields),
        is_to_collect=job.state in BEFORE_PICKUP,
        is_free=job.state in _EARLY,
    )
    return PatchedOrder(valid, fields, tuple(_own_stores(fields, patch)))


def _request_of(order: CompleteOrder, pay: Any, level: ServiceLevel) -> JobRequest:
    """Return the request that amounts to a stored order, everything filled in."""
    fields = {field.name: getattr(order, field.name) for field in structs.fields(JobRequest)}
    return JobRequest(**fields | {"pay": pay, "service_level": level})


def _misplaced(patch: JobPatch, shown: JobRequest) -> Iterator[FieldError]:
    known, seen = {store.store for store in shown.pickup.stores}, set()
    for number, change in enumerate(_store_changes(patch)):
        pointer = f"{_STORES}/{number}/store"
        if change.store not in known:
            yield FieldError(pointer, "not a store of this job")
        elif change.store in seen:
            yield FieldError(pointer, "the same store twice")
        seen.add(change.store)
    if patch.pay is not UNSET and shown.pay is UNSET:
        for name in ("amount_minor", "currency"):
            if getattr(patch.pay, name) is UNSET:
                yield FieldError(f"/pay/{name}", "missing")


def _store_changes(patch: JobPatch) -> tuple[Any, ...]:
    if patch.pickup is UNSET or patch.pickup.stores is UNSET:
        return ()
    return patch.pickup.stores


def _merged(shown: JobRequest, patch: JobPatch) -> JobRequest:
    """Apply the patch. A field that it removes has the default of a request."""
    new = _set(patch, JobRequest, ("pickup", "dropoff", "pay", "metadata"))
    if patch.pickup is not UNSET:
        new["pickup"] = _merged_pickup(shown.pickup, patch.pickup)
    if patch.dropoff is not UNSET:
        new["dropoff"] = structs.replace(shown.dropoff, **_set(patch.dropoff, DropoffRequest))
        window_end = shown.pickup.window_end
        follows = patch.pickup is UNSET or patch.pickup.window_end is UNSET
        if follows and window_end == shown.dropoff.deadline:
            # The order names no window, so it ends with the deadline.
            pickup = new.get("pickup", shown.pickup)
            new["pickup"] = structs.replace(pickup, window_end=UNSET)
    if patch.pay is not UNSET:
        pay = _set(patch.pay, Pay)
        new["pay"] = Pay(**pay) if shown.pay is UNSET else structs.replace(shown.pay, **pay)
    if patch.metadata is None:
        new["metadata"] = UNSET
    elif patch.metadata is not UNSET:
        known = {} if shown.metadata is UNSET else shown.metadata
        items = (known | patch.metadata).items()
        new["metadata"] = {name: it for name, it in items if it is not None} or UNSET
    return structs.replace(shown, **new)


def _merged_pickup(shown: Pickup, patch: PickupChange) -> Pickup:
    changes = {} if patch.stores is UNSET else {it.store: _set(it, Store) for it in patch.stores}
    stores = tuple(
        structs.replace(it, **changes[it.store]) if it.store in changes else it
        for it in shown.stores
    )
    own = _set(patch, Pickup, ("stores",))
    # A plain store and a plain pickup may lack a time, which has its default again.
    plain = tuple(Store(**structs.asdict(it)) for it in stores)
    return Pickup(**{"mall": shown.mall, "window_end": shown.window_end, **own, "stores": plain})


def _set(patch: Struct, of: type[Struct], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the fields that a patch names, with the default of those that it removes."""
    defaults = {field.name: field.default for field in structs.fields(of)}
    named = {name: it for name, it in structs.asdict(patch).items() if it is not UNSET}
    return {
        name: defaults[name] if it is None else it
        for name, it in named.items()
        if name not in left_out
    }


def _changes(shown: JobRequest, wanted: JobRequest, patch: JobPatch) -> Iterator[str]:
    """Yield the pointers of the patch whose fields differ now."""
    for number, change in enumerate(_store_changes(patch)):
        was, new = (
            next(it for it in order.pickup.stores if it.store == change.store)
            for order in (shown, wanted)
        )
        for name in ("ready_at", "pickup_code"):
            if getattr(was, name) != getattr(new, name):
                yield f"{_STORES}/{number}/{name}"
    for pointer in FIXED_FROM:
        names = pointer.split("/")[1:]
        is_named = "*" not in names and _at(patch, names) is not UNSET
        if is_named and _at(shown, names) != _at(wanted, names):
            yield pointer


def _at(struct: Any, names: list[str]) -> Any:
    for name in names:
        struct = UNSET if struct is UNSET else getattr(struct, name)
    return struct


def _too_late(job: Job, fields: tuple[str, ...], patch: JobPatch) -> Iterator[FieldError]:
    collected = {shop.store for shop in job.shops if shop.collected}
    may_come = job.state in BEFORE_PICKUP or job.state is JobState.PICKED_UP
    for field in fields:
        fixed_from = FIXED_FROM[_plain(field)]
        if job.terminal:
            yield FieldError(field, f"the job is {job.state}")
        elif field.startswith(_STORES):
            store = _store_changes(patch)[int(field.split("/")[3])].store
            if store in collected or not may_come:
                yield FieldError(field, "its parcels are collected")
        elif fixed_from is not None and job.state not in _STATES_BEFORE[fixed_from]:
            yield FieldError(field, f"the job is {job.state}")


def _less_pay(was: Any, new: Any) -> Iterator[FieldError]:
    if was is UNSET:
        return
    if new.amount_minor < was.amount_minor:
        yield FieldError("/pay/amount_minor", f"never less than {was.amount_minor}")
    if new.currency != was.currency:
        yield FieldError("/pay/currency", f"stays {was.currency}")


def _plain(field: str) -> str:
    """Return the pointer as `FIXED_FROM` has it."""
    if not field.startswith(_STORES):
        return field
    return f"{_STORES}/*/{field.rpartition('/')[2]}"


def _own_stores(fields: tuple[str, ...], patch: JobPatch) -> Iterator[str]:
    """Yield the stores whose own fields change, once each."""
    numbers = {int(field.split("/")[3]) for field in fields if field.startswith(_STORES)}
    changes = _store_changes(patch)
    for number in sorted(numbers):
        yield changes[number].store
