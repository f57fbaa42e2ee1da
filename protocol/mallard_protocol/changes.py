"""The bodies that change or end orders: a patch of one, and lists of orders and cancellations.

A patch is a JSON Merge Patch (RFC 7396) of what ``GET /v1/jobs/{id}`` shows, with one difference:
``pickup.stores`` lists only the stores that change, by ``store``. Here null has a meaning, so its
fields are validated as they come; it removes an optional field, which then has its default again.
"""

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from mallard_protocol.codes import OnMissing, OnShort, OnUndeliverable, ServiceLevel
from mallard_protocol.fields import Id, Lat, Lon
from mallard_protocol.instants import Instant
from mallard_protocol.lifecycle import JobState
from mallard_protocol.resources import (
    MAX_STORES,
    HoldS,
    Job,
    LongText,
    MetadataKey,
    MetadataValue,
    Problem,
    Reason,
)

MAX_ITEMS: Final = 100
MAX_BATCH_BYTES: Final = 1 << 20

_Minor = Annotated[int, Meta(ge=0, le=10**12)]


class PickupStoreChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What changes at one store."""

    store: Id
    ready_at: Instant | UnsetType | None = UNSET
    pickup_code: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType | None = UNSET


class PickupChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What changes of the pickup. ``stores``: only those to change."""

    stores: (
        Annotated[tuple[PickupStoreChange, ...], Meta(min_length=1, max_length=MAX_STORES)]
        | UnsetType
    ) = UNSET
    window_end: Instant | UnsetType | None = UNSET


class DropoffChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What changes of the drop-off. The position stays within the market's area."""

    lat: Lat | UnsetType = UNSET
    lon: Lon | UnsetType = UNSET
    address: Annotated[str, Meta(max_length=500)] | UnsetType | None = UNSET
    name: Annotated[str, Meta(max_length=200)] | UnsetType | None = UNSET
    contact: Annotated[str, Meta(max_length=200)] | UnsetType | None = UNSET
    note: LongText | UnsetType | None = UNSET
    deadline: Instant | UnsetType | None = UNSET


class PayChange(Struct, frozen=True, forbid_unknown_fields=True):
    """What changes of the pay: never less, and never another currency."""

    amount_minor: _Minor | UnsetType = UNSET
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")] | UnsetType = UNSET
    max_minor: _Minor | UnsetType | None = UNSET


class JobPatch(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PATCH /v1/jobs/{id}``: all of it is applied, or nothing.

    A field that is named as it is counts as not named. ``metadata``: null removes a key.
    """

    requires: Annotated[tuple[Id, ...], Meta(max_length=16)] | UnsetType | None = UNSET
    service_level: ServiceLevel | UnsetType | None = UNSET
    pickup: PickupChange | UnsetType = UNSET
    priority: Annotated[int, Meta(ge=0, le=100)] | UnsetType | None = UNSET
    on_short: OnShort | UnsetType | None = UNSET
    on_missing: OnMissing | UnsetType | None = UNSET
    hold_s: HoldS | UnsetType | None = UNSET
    on_undeliverable: OnUndeliverable | UnsetType | None = UNSET
    dropoff: DropoffChange | UnsetType = UNSET
    pay: PayChange | UnsetType = UNSET
    metadata: (
        Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=32)] | UnsetType | None
    ) = UNSET


# From which state on a field, by its JSON pointer, is fixed; None: once the job has ended. A
# store's own (`*`) is fixed once that store's parcels were collected.
FIXED_FROM: Final[dict[str, JobState | None]] = {
    "/requires": JobState.ASSIGNED,
    "/service_level": JobState.ASSIGNED,
    "/pickup/stores/*/ready_at": JobState.PICKED_UP,
    "/pickup/stores/*/pickup_code": JobState.PICKED_UP,
    "/pickup/window_end": JobState.PICKED_UP,
    "/priority": JobState.PICKED_UP,
    "/on_short": JobState.PICKED_UP,
    "/on_missing": JobState.PICKED_UP,
    "/hold_s": JobState.PICKED_UP,
    "/on_undeliverable": None,
    "/dropoff/note": None,
    "/dropoff/contact": None,
    "/dropoff/name": None,
    "/dropoff/address": None,
    "/dropoff/lat": None,
    "/dropoff/lon": None,
    "/dropoff/deadline": None,
    "/pay/amount_minor": None,
    "/pay/currency": None,
    "/pay/max_minor": None,
    "/metadata": None,
}


class BatchItem(Struct, frozen=True, forbid_unknown_fields=True):
    """One order: ``key`` as ``Idempotency-Key``, ``job`` as the body of ``POST /v1/jobs``."""

    key: Any = None
    job: Any = None


class BatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs:batch``."""

    items: Annotated[tuple[BatchItem, ...], Meta(min_length=1, max_length=MAX_ITEMS)]


class BatchResult(Struct, frozen=True):
    """What became of one order, as if it had come alone: ``job`` or ``problem``."""

    key: str | None
    status: int
    replayed: bool = False
    job: Job | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET


class BatchResults(Struct, frozen=True):
    """The results of a batch, in the order of its items."""

    items: tuple[BatchResult, ...]


class CancelBatchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs:cancel``. ``reason``, ``note``: as for one job."""

    ids: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
        Meta(min_length=1, max_length=MAX_ITEMS),
    ]
    reason: Reason = "cancelled"
    note: Reason | UnsetType = UNSET


class CancelResult(Struct, frozen=True):
    """What became of one cancellation, as if it had come alone: ``job`` or ``problem``."""

    id: str
    status: int
    job: Job | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET


class CancelResults(Struct, frozen=True):
    """The results of a list of cancellations, in its order."""

    items: tuple[CancelResult, ...]


class CustomerErased(Struct, frozen=True):
    """The answer of ``DELETE /v1/customers/{ref}``.

    ``erased``: from how many ended jobs it was removed just now. ``open``: the jobs that have not
    ended and keep their data: ask again then. ``more``: there may be others, ask again at once.
    """

    customer_ref: str
    erased: int
    open: tuple[str, ...]
    more: bool
