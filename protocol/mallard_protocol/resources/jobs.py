"""Jobs: what is ordered, and what is shown of it."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from mallard_protocol import messages
from mallard_protocol.codes import (
    HOLD_S,
    LEAST_HOLD_S,
    MOST_HOLD_S,
    AnswerAction,
    CancelReason,
    OnMissing,
    OnShort,
    OnUndeliverable,
    RequiredProof,
    ServiceLevel,
)
from mallard_protocol.fields import (
    Id,
    JobReasonName,
    JobStateName,
    Lat,
    Lon,
    ShopStateName,
    open_enum,
)
from mallard_protocol.instants import Instant
from mallard_protocol.lifecycle import Risk, ShopState

LongText = Annotated[str, Meta(max_length=1000)]


Reason = Annotated[str, Meta(min_length=1, max_length=200)]


MetadataKey = Annotated[str, Meta(min_length=1, max_length=64)]


# The bounds exclude the infinity that `1e999` is parsed to.
Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]


MetadataValue = Annotated[str, Meta(max_length=500)] | int | Finite | bool | None


MAX_STORES = 10


HoldS = Annotated[int, Meta(ge=LEAST_HOLD_S, le=MOST_HOLD_S)]


class PickupStoreView(Struct, frozen=True):
    """One store to collect from."""

    store: Id
    ready_at: Instant | UnsetType = UNSET
    parcels: Annotated[int, Meta(ge=1, le=1000)] = 1
    pickup_code: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET


class PickupStore(PickupStoreView, frozen=True, forbid_unknown_fields=True):
    """One store to collect from. Without ``ready_at`` its parcels are ready now."""


class ShopView(PickupStoreView, frozen=True):
    """One store to collect from, and what is known of its parcels."""

    state: ShopStateName = ShopState.WAITING.value
    collected_parcels: int = 0


class PickupView(Struct, frozen=True):
    """Where to collect, and until when."""

    mall: Id
    stores: tuple[ShopView, ...]
    window_end: Instant | UnsetType = UNSET


class Pickup(PickupView, frozen=True, forbid_unknown_fields=True):
    """Where to collect. By default ``window_end`` is the deadline. Parcels are collected while the
    mall is open; those that no driver can collect before closing wait for the next opening."""

    stores: Annotated[  # type: ignore[assignment] # what is asked for has no state yet
        tuple[PickupStore, ...], Meta(min_length=1, max_length=MAX_STORES)
    ]


class DropoffView(Struct, frozen=True):
    """Where to deliver, and until when."""

    lat: Lat
    lon: Lon
    address: Annotated[str, Meta(max_length=500)] | UnsetType = UNSET
    name: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    contact: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    note: LongText | UnsetType = UNSET
    deadline: Instant | UnsetType = UNSET
    customer_ref: Id | UnsetType = UNSET


class DropoffRequest(DropoffView, frozen=True, forbid_unknown_fields=True):
    """Where to deliver. By default ``deadline`` is 24 h from now.

    ``pin``: the customer gives it to the driver as a proof of kind ``code``. It is never shown.
    ``customer_ref``: by which `DELETE /v1/customers/{ref}` finds the jobs of a customer.
    """

    pin: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET


class ParcelsView(Struct, frozen=True):
    """The load of all stores together."""

    count: Annotated[int, Meta(ge=1, le=10_000)]
    weight_g: Annotated[int, Meta(ge=0, le=100_000_000)] = 0
    volume_l: Annotated[float, Meta(ge=0, le=1_000_000)] = 0


class ParcelsRequest(ParcelsView, frozen=True, forbid_unknown_fields=True):
    """The load of all stores together."""


class PayView(Struct, frozen=True):
    """What the driver earns now, in minor units of an ISO 4217 currency, and at most."""

    amount_minor: Annotated[int, Meta(ge=0, le=10**12)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$(?!\n)")]
    max_minor: Annotated[int, Meta(ge=0, le=10**12)] | UnsetType = UNSET


class Pay(PayView, frozen=True, forbid_unknown_fields=True):
    """What the driver earns, in minor units of an ISO 4217 currency.

    ``max_minor``: the pay rises to it, by the market's step after each round that no driver took.
    """


class JobRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs`` and ``POST /v1/quotes``.

    ``on_short``, ``on_missing``: what happens if a shop has fewer parcels, or nothing is there to
    collect. ``hold_s``: for how many seconds a held job waits for an answer, 4 h by default. By
    default ``service_level`` is the market's preset. ``proof_required``: what the driver must give
    before the job is delivered. ``pin`` needs ``dropoff.pin`` and follows from it, ``age_check``
    follows from ``id_check``.
    """

    pickup: Pickup
    dropoff: DropoffRequest
    external_id: Id | UnsetType = UNSET
    parcels: ParcelsRequest | UnsetType = UNSET
    requires: Annotated[tuple[Id, ...], Meta(max_length=16)] = ()
    priority: Annotated[int, Meta(ge=0, le=100)] = 0
    pay: Pay | UnsetType = UNSET
    metadata: Annotated[dict[MetadataKey, MetadataValue], Meta(max_length=32)] | UnsetType = UNSET
    service_level: ServiceLevel | UnsetType = UNSET
    on_short: OnShort = OnShort.DELIVER
    on_missing: OnMissing = OnMissing.HOLD
    hold_s: HoldS = HOLD_S
    on_undeliverable: OnUndeliverable = OnUndeliverable.RETURN
    proof_required: Annotated[tuple[RequiredProof, ...], Meta(max_length=len(RequiredProof))] = ()


class TimelineEntry(Struct, frozen=True):
    """One change of state. ``at``: when the engine received it; ``occurred_at``: when it happened
    by the driver's clock (``at_ms``), not before the previous state; without ``at_ms`` the same.
    """

    state: JobStateName
    at: Instant
    actor: str
    cause: str
    occurred_at: Instant | UnsetType = UNSET


class Eta(Struct, frozen=True):
    """Expected times, null while unknown."""

    pickup: Instant | None
    dropoff: Instant | None


class ProofView(Struct, frozen=True):
    """A proof that a driver gave with a step, with the times of receipt and of the driver's clock.

    ``value``: the code of a shop or of a return, or the id of a photo or signature. The code that
    the customer gave is not shown.
    """

    kind: str
    step: str
    at: Instant
    value: str | UnsetType = UNSET
    reported_at: Instant | UnsetType = UNSET


class UploadedProof(Struct, frozen=True):
    """The answer to ``POST /v1/driver/proofs``. The id is the ``value`` of a report's ``proof``."""

    proof: str


class JobProof(Struct, frozen=True):
    """A proof of a job, with a link to its image if it has one.

    ``url``: gives access to the image without a token until ``url_expires_at``. No codes are
    shown.
    """

    kind: str
    step: str
    at: Instant
    reported_at: Instant | UnsetType = UNSET
    proof: str | UnsetType = UNSET
    media_type: str | UnsetType = UNSET
    bytes: int | UnsetType = UNSET
    url: str | UnsetType = UNSET
    url_expires_at: Instant | UnsetType = UNSET


class JobProofList(Struct, frozen=True):
    """The proofs of a job, oldest first."""

    items: tuple[JobProof, ...]


class ProblemAnswer(Struct, frozen=True):
    """The last answer to a problem."""

    action: Annotated[str, open_enum(AnswerAction)]
    text: str
    at: Instant
    actor: str


class ReportedProblem(Struct, frozen=True):
    """A problem that a driver reported with the job. ``until``: the store is held until then.

    ``state``: ``open``, ``answered``, or ``resolved`` (the driver tried again, or the job ended).
    """

    id: str
    kind: str
    text: str
    at: Instant
    until: Instant | None
    state: str
    store: str | UnsetType = UNSET
    reported_at: Instant | UnsetType = UNSET
    answer: ProblemAnswer | UnsetType = UNSET


class ReturnPlaceView(Struct, frozen=True):
    """Where the parcels go back to. ``open_until``: null if the place never closes."""

    kind: Literal["store", "station"]
    mall: str
    store: str
    lat: float
    lon: float
    open_until: Instant | None


class Held(Struct, frozen=True):
    """Why the search for a driver is suspended: a store cannot hand over.

    A ``scheduled`` job with ``missing`` or ``short`` waits for ``ready`` from the shop or the order
    service and fails at ``until``; otherwise the search continues at ``until``, or after ``ready``.
    """

    why: str
    place: str
    store: str
    until: Instant


class Transfer(Struct, frozen=True):
    """The open transfer of a job on board. ``alias``: the driver who comes, null while there is
    none; ``eta``: when it comes. Only operators see the ``code``, which that driver must give."""

    id: str
    at: messages.MeetingPoint
    alias: str | None
    eta: Instant | None
    code: str | UnsetType = UNSET


class Job(Struct, frozen=True):
    """A job, as its order service and operators see it. Order services see an alias of a driver
    in ``driver`` and ``actor``, operators its id.

    ``transfer``: the open transfer of which it is a part. A job of ``kind`` ``transfer`` is the
    engine's own, shown to operators alone: the jobs ``carries`` go from the driver ``first`` to
    this job's driver, who must give the ``code``.

    ``return_to``: where it is brought back, or was. ``cancel_requested``: cancelled when it was on
    board, so it comes back; ``cancel_stage``: its state at that time. ``redelivery_of``: the
    returned job whose parcels it delivers. ``tracking_url``: for the customer, until 24 h after the
    end; null once tracking is over.
    """

    id: str
    market: str
    state: JobStateName
    terminal: bool
    attempt: int
    driver: str | None
    reason: JobReasonName | None
    created_at: Instant
    updated_at: Instant
    expires_at: Instant
    eta: Eta
    timeline: tuple[TimelineEntry, ...]
    pickup: PickupView
    dropoff: DropoffView
    parcels: ParcelsView
    requires: tuple[str, ...]
    priority: int
    external_id: str | UnsetType = UNSET
    pay: PayView | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    service_level: Annotated[str, open_enum(ServiceLevel)] | UnsetType = UNSET
    proofs: tuple[ProofView, ...] = ()
    problems: tuple[ReportedProblem, ...] = ()
    held: Held | None = None
    on_short: Annotated[str, open_enum(OnShort)] = OnShort.DELIVER.value
    on_missing: Annotated[str, open_enum(OnMissing)] = OnMissing.HOLD.value
    hold_s: int = HOLD_S
    transfer: Transfer | None = None
    kind: str | UnsetType = UNSET
    carries: tuple[str, ...] | UnsetType = UNSET
    first: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    risk: Annotated[str, open_enum(Risk)] | UnsetType = UNSET
    on_undeliverable: str = OnUndeliverable.RETURN
    delivery_attempts: int = 0
    return_to: ReturnPlaceView | None = None
    cancel_requested: bool = False
    cancelled_by: str | None = None
    cancel_reason: Annotated[str | None, open_enum(CancelReason)] = None
    cancel_note: str | None = None
    cancel_stage: JobStateName | None = None
    redelivery_of: str | None = None
    proof_required: tuple[Annotated[str, open_enum(RequiredProof)], ...] = ()
    tracking_url: str | None = None


class JobList(Struct, frozen=True):
    """A page of jobs, newest first."""

    items: tuple[Job, ...]
    next_cursor: str | None


class CancelRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/cancel``.

    ``reason``: a `CancelReason`; any other text counts as ``other`` with that text as its note.
    """

    reason: Reason = "cancelled"
    note: Reason | UnsetType = UNSET


class AnswerRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/problems/{p}/answer``. ``instructions`` needs a text."""

    action: AnswerAction
    text: Annotated[str, Meta(max_length=500)] = ""


class RedeliverRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/redeliver``.

    Without ``dropoff`` the parcels go where they were to go. A new one replaces position, address
    and note; name, contact and PIN stay unless it has them. Its own ``deadline`` is ignored.
    """

    deadline: Instant
    dropoff: DropoffRequest | UnsetType = UNSET


class ReadyRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/ready``: a store's parcels are ready then."""

    store: Id
    ready_at: Instant
