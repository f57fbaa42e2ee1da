"""An order with all of its defaults filled in: what the engine works with and what it stores.

A `JobRequest` may leave fields out. `CompleteOrder.from_request` fills them in once, and every
reader after that sees final types. What stays optional has no default: a payment, a PIN, a name.
"""

from datetime import datetime, timedelta
from typing import Final, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mallard_engine.core.model import TRANSFER, Job, Need
from mallard_engine.core.places.meeting import STORE
from mallard_engine.gateway.timestamps import epoch_ms, utc
from mallard_protocol.codes import (
    HOLD_S,
    ID_CHECK,
    OnMissing,
    OnShort,
    OnUndeliverable,
    RequiredProof,
    ServiceLevel,
)
from mallard_protocol.resources import (
    DropoffRequest,
    JobRequest,
    MetadataValue,
    ParcelsRequest,
    Pay,
    Pickup,
    PickupStore,
)

_DEADLINE_AFTER: Final = timedelta(hours=24)
# The requirements that somebody at the door must meet.
_IN_PERSON: Final = frozenset({ID_CHECK, "age_check", "signature"})
_PROOF_IN_PERSON: Final = frozenset(RequiredProof) - {RequiredProof.PHOTO}


class CompleteStore(PickupStore, frozen=True, kw_only=True):
    """One shop to collect from, with the time at which its parcels are ready."""

    store: str
    ready_at: datetime
    parcels: int
    pickup_code: str | UnsetType = UNSET

    @property
    def ready_ms(self) -> int:
        """The time in epoch milliseconds."""
        return epoch_ms(self.ready_at)


class CompletePickup(Pickup, frozen=True, kw_only=True):
    """Where to collect, and until when."""

    mall: str
    stores: tuple[CompleteStore, ...]
    window_end: datetime


class CompleteDropoff(DropoffRequest, frozen=True, kw_only=True):
    """Where to deliver, and until when."""

    deadline: datetime
    pin: str | UnsetType = UNSET


class CompleteOrder(
    Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """A `JobRequest` whose defaults are filled in. The order of the fields is that of its JSON.

    Fields with a default are stored only with another value. An engine that does not know them
    reads such an order, and `lib/shops.lua` and `lib/door.lua` have the same defaults.
    """

    pickup: CompletePickup
    dropoff: CompleteDropoff
    external_id: str | UnsetType = UNSET
    parcels: ParcelsRequest
    requires: tuple[str, ...]
    priority: int
    pay: Pay | UnsetType = UNSET
    metadata: dict[str, MetadataValue] | UnsetType = UNSET
    # Not set: the market's preset when the order came. `Need.service_level` has the level itself.
    service_level: ServiceLevel | UnsetType = UNSET
    on_short: OnShort = OnShort.DELIVER
    on_missing: OnMissing = OnMissing.HOLD
    hold_s: int = HOLD_S
    on_undeliverable: OnUndeliverable = OnUndeliverable.RETURN
    proof_required: tuple[RequiredProof, ...] = ()

    @classmethod
    def from_request(cls, request: JobRequest, preset: ServiceLevel, now_ms: int) -> Self:
        """Fill in the defaults of a request. Times that are filled in are whole seconds in UTC.

        Args:
            request: the order as it came.
            preset: the service level of an order that names none.
            now_ms: the present in epoch milliseconds.
        """
        now = utc(now_ms // 1000 * 1000)
        pickup, dropoff = request.pickup, request.dropoff
        stores = tuple(_complete_store(store, now) for store in pickup.stores)
        deadline = now + _DEADLINE_AFTER if dropoff.deadline is UNSET else dropoff.deadline
        parcels = request.parcels
        if parcels is UNSET:
            parcels = ParcelsRequest(count=sum(store.parcels for store in stores))
        return cls(
            pickup=CompletePickup(
                mall=pickup.mall,
                stores=stores,
                window_end=deadline if pickup.window_end is UNSET else pickup.window_end,
            ),
            dropoff=CompleteDropoff(
                lat=dropoff.lat,
                lon=dropoff.lon,
                address=dropoff.address,
                name=dropoff.name,
                contact=dropoff.contact,
                note=dropoff.note,
                deadline=deadline,
                pin=dropoff.pin,
                customer_ref=dropoff.customer_ref,
            ),
            external_id=request.external_id,
            parcels=parcels,
            requires=request.requires,
            priority=request.priority,
            pay=request.pay,
            metadata=request.metadata,
            service_level=UNSET if request.service_level is preset else request.service_level,
            on_short=request.on_short,
            on_missing=request.on_missing,
            hold_s=request.hold_s,
            on_undeliverable=request.on_undeliverable,
            proof_required=request.proof_required,
        )

    @property
    def needs_person(self) -> bool:
        """Whether somebody must be at the door: it cannot be left there."""
        return bool(_PROOF_IN_PERSON & self.needed_proof) or bool(
            _IN_PERSON.intersection(self.requires)
        )

    @property
    def needed_proof(self) -> frozenset[RequiredProof]:
        """What the driver must give at the delivery, with what follows from other fields."""
        return frozenset(
            (
                *self.proof_required,
                *((RequiredProof.PIN,) if self.dropoff.pin is not UNSET else ()),
                *((RequiredProof.AGE_CHECK,) if ID_CHECK in self.requires else ()),
            )
        )

    @property
    def shown_proof(self) -> tuple[RequiredProof, ...]:
        """`needed_proof` in the contract's order."""
        needed = self.needed_proof
        return tuple(kind for kind in RequiredProof if kind in needed)

    @property
    def body(self) -> bytes:
        """The order as it is stored: JSON."""
        return msgspec.json.encode(self)

    @property
    def ready_ms(self) -> int:
        """When the parcels of all stores are ready."""
        return max(store.ready_ms for store in self.pickup.stores)

    @property
    def deadline_ms(self) -> int:
        """When the order must be delivered."""
        return epoch_ms(self.dropoff.deadline)

    @property
    def window_end_ms(self) -> int:
        """When the order can no longer be collected."""
        return epoch_ms(self.pickup.window_end)

    def with_ready_at(self, store: str, ready_at: datetime) -> Self:
        """Return the order with another ready time for one of its stores."""
        stores = tuple(
            msgspec.structs.replace(it, ready_at=ready_at) if it.store == store else it
            for it in self.pickup.stores
        )
        pickup = msgspec.structs.replace(self.pickup, stores=stores)
        return msgspec.structs.replace(self, pickup=pickup)


_decode: Final = msgspec.json.Decoder(CompleteOrder).decode


def pay_of(job: Job, order: CompleteOrder) -> Pay | UnsetType:
    """Return the driver's pay as it is now: it may have risen since the order came."""
    if order.pay is UNSET or job.raised_pay_minor is None:
        return order.pay
    return msgspec.structs.replace(order.pay, amount_minor=job.raised_pay_minor)


def order_of(job: Job) -> CompleteOrder:
    """Return the order of a job as it was stored; a transfer's is made of its need."""
    if job.kind == TRANSFER:
        return transfer_order(job.mall, job.need)
    return _decode(job.body)


def transfer_order(mall: str, need: Need) -> CompleteOrder:
    """Return the order that a transfer at a meeting place amounts to."""
    ready, ends = utc(need.ready_ms), utc(need.expires_ms)
    store = CompleteStore(store=STORE, ready_at=ready, parcels=need.parcels)
    return CompleteOrder(
        pickup=CompletePickup(mall=mall, stores=(store,), window_end=ends),
        dropoff=CompleteDropoff(lat=need.lat, lon=need.lon, deadline=ends),
        parcels=ParcelsRequest(count=need.parcels, weight_g=need.weight_g, volume_l=need.volume_l),
        requires=need.requires,
        priority=need.priority,
    )


def _complete_store(store: PickupStore, now: datetime) -> CompleteStore:
    return CompleteStore(
        store=store.store,
        ready_at=now if store.ready_at is UNSET else store.ready_at,
        parcels=store.parcels,
        pickup_code=store.pickup_code,
    )
