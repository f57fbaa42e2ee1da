"""The bodies of the HTTP API, as structs.

Requests refuse unknown fields. Responses may gain fields, and clients ignore unknown ones. So the
parts of a job exist in pairs: `Pickup` for requests, decoded strictly, and its base `PickupView`
for responses, decoded leniently.

Times are RFC 3339 strings with an offset. Names of amounts end with their units.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct, structs

from mallard_protocol import messages
from mallard_protocol.codes import (
    HOLD_S,
    LEAST_HOLD_S,
    MOST_HOLD_S,
    AnswerAction,
    CancelReason,
    FixDropped,
    OnMissing,
    OnShort,
    OnUndeliverable,
    ProblemCode,
    RequiredProof,
    ServiceLevel,
    WhyNot,
)
from mallard_protocol.fields import (
    Alias,
    DriverStateName,
    Id,
    Items,
    JobReasonName,
    JobStateName,
    Lat,
    Lon,
    ShopStateName,
    open_enum,
)
from mallard_protocol.instants import Instant
from mallard_protocol.lifecycle import Outcome, Risk, ShopState
from mallard_protocol.messages import Barred, Fix

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


class DropoffRequest(DropoffView, frozen=True, forbid_unknown_fields=True):
    """Where to deliver. By default ``deadline`` is 24 h from now.

    ``pin``: the customer gives it to the driver as a proof of kind ``code``. It is never shown.
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
    service and fails at ``until``; otherwise the search goes on at ``until``, or after ``ready``.
    """

    why: str
    place: str
    store: str
    until: Instant


class MeetingPointRequest(messages.MeetingPoint, frozen=True, forbid_unknown_fields=True):
    """Where two drivers meet."""


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
    returned job whose parcels it delivers.
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


class AssignRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/assign``."""

    driver: Id


class UnassignRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/unassign``."""

    reason: Reason


class CloseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/close``."""

    state: Literal["returned", "delivered", "lost"]
    reason: Reason


class TransferRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/markets/{m}/drivers/{id}/transfer``.

    Missing: ``jobs``: all that the driver has on board; ``driver``: any that has room; ``at``: the
    driver's last position.
    """

    jobs: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=50)] | UnsetType = UNSET
    driver: Id | UnsetType = UNSET
    at: MeetingPointRequest | UnsetType = UNSET


class SuspendRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/markets/{m}/drivers/{id}/suspend``."""

    reason: Reason


class FixesRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/driver/locations``: fixes as over the socket, in any order."""

    fixes: Annotated[tuple[Fix, ...], Meta(min_length=1, max_length=100)]


class DroppedFix(Struct, frozen=True):
    """Why a fix was dropped; ``fix``: its index in the request."""

    fix: int
    why: Annotated[str, open_enum(FixDropped)]


class FixesResult(Struct, frozen=True):
    """How many fixes were accepted and dropped, and why each one was dropped."""

    accepted: int
    dropped: int
    reasons: tuple[DroppedFix, ...] = ()


def _body_of(message: type[Struct], name: str, left_out: tuple[str, ...], *, strict: bool) -> Any:
    """Define the HTTP body with the fields of a socket message, except for some.

    Args:
        message: the message.
        name: the name of the body.
        left_out: the fields that the body does not have.
        strict: whether unknown fields are refused.
    """
    fields = [
        (field.name, field.type) if field.required else (field.name, field.type, field.default)
        for field in structs.fields(message)
        if field.name not in left_out
    ]
    return defstruct(
        name,
        fields,
        frozen=True,
        forbid_unknown_fields=strict,
        module=__name__,
        namespace={"__doc__": message.__doc__},
    )


# A driver's requests without a socket: `type`, `id` and the fields of the path are left out.
StatusRequest = _body_of(messages.Status, "StatusRequest", ("id",), strict=True)
AcceptRequest = _body_of(messages.Accept, "AcceptRequest", ("id", "offer"), strict=True)
DeclineRequest = _body_of(messages.Decline, "DeclineRequest", ("id", "offer"), strict=True)
ProgressRequest = _body_of(messages.Progress, "ProgressRequest", ("id", "job"), strict=True)
ProblemRequest = _body_of(messages.Problem, "ProblemRequest", ("id",), strict=True)
DriverReply = _body_of(messages.Reply, "DriverReply", ("id",), strict=False)
DriverTruth = _body_of(messages.Welcome, "DriverTruth", ("session",), strict=False)


class Candidate(Struct, frozen=True):
    """One driver in a dispatch round. An order service gets numbers instead of names."""

    driver: str
    eligible: bool
    why_not: Annotated[str | None, open_enum(WhyNot)]
    cost_s: float | None
    terms: dict[str, float]
    eta_s: int
    distance_m: int


class Asked(Struct, frozen=True):
    """One driver who got an offer; ``reason``: its reason for a decline or a give-up."""

    driver: str
    attempt: int
    outcome: Annotated[str, open_enum(Outcome)]
    at: Instant
    reason: str | UnsetType = UNSET


class Explanation(Struct, frozen=True):
    """Why this driver: the last round of a job and everyone who was asked.

    ``run_jobs``: with how many jobs, itself among them, it was offered; ``run_why``: why it left
    then: ``due``, ``full``, ``free`` (nothing is held there) or ``add_on`` (one more for a driver
    on its way). ``held_until``: it is held until then at the latest, so that it can share a run.
    """

    job: str
    round: int
    at: Instant | None
    radius_m: int
    capped: bool
    candidates: tuple[Candidate, ...]
    asked: tuple[Asked, ...]
    run_jobs: int = 1
    run_why: str | None = None
    held_until: Instant | None = None
    eta: Eta | UnsetType = UNSET
    held: Held | None = None
    pay: PayView | UnsetType = UNSET
    risk: Annotated[str, open_enum(Risk)] | UnsetType = UNSET


class Quote(Struct, frozen=True):
    """Whether a job would find a driver right now."""

    would_match: bool
    eta_s: int | None
    candidates: tuple[Candidate, ...]
    why_not: Annotated[str | None, open_enum(WhyNot)]
    held: Held | None = None


class Gate(Struct, frozen=True):
    """An entrance with parking for drivers."""

    id: str
    lat: float
    lon: float


class Store(Struct, frozen=True):
    """A shop of a mall."""

    id: str
    name: str
    gate: str
    floor: int


class Mall(Struct, frozen=True):
    """A mall, or a delivery station. ``outline``: GeoJSON Polygon."""

    id: str
    name: str
    lat: float
    lon: float
    time_zone: str
    outline: dict[str, Any]
    gates: tuple[Gate, ...]
    stores: tuple[Store, ...]


class Market(Struct, frozen=True):
    """One metro area. ``area``: GeoJSON Polygon."""

    id: str
    name: str
    area: dict[str, Any]
    malls: tuple[Mall, ...]


class MarketList(Struct, frozen=True):
    """The body of ``GET /v1/markets``."""

    items: tuple[Market, ...]


class VehicleView(Struct, frozen=True):
    """What a driver's vehicle can carry at once."""

    kind: str
    max_jobs: int
    max_weight_g: int
    max_volume_l: float
    equipment: tuple[str, ...]


class DriverView(Struct, frozen=True):
    """One driver, as operators see it. Position and time are null before the first fix.

    ``barred``: why it gets no offers. ``suspended_for``: the reason that the operator gave; a
    suspension lasts until the driver is resumed. ``vehicle``, ``qualifications``: what counts now,
    from the register, its token and its hello. ``last_seen``: its last fix, hello or disconnection.
    """

    driver: str
    state: DriverStateName
    lat: float | None
    lon: float | None
    at_ms: int | None
    jobs: tuple[str, ...]
    barred: Barred | None = None
    suspended: bool = False
    suspended_for: str | None = None
    connected: bool = False
    vehicle: VehicleView | None = None
    qualifications: tuple[str, ...] = ()
    last_seen: Instant | None = None


class DriverPosition(Struct, frozen=True):
    """The last accepted fix. ``at``: by the clock of the app; ``received_at``: by the engine's."""

    lat: float
    lon: float
    acc_m: float
    at: Instant
    received_at: Instant


class RegisteredVehicle(messages.Vehicle, frozen=True, forbid_unknown_fields=True):
    """The limits of a registered vehicle, which a hello can only narrow. Without ``equipment`` it
    has none."""


DriverStatus = Literal["active", "suspended"]


class DriverProfile(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A driver's entry in the register: the body of ``PUT /v1/markets/{m}/drivers/{id}``.

    It replaces the whole entry: what is missing counts as not registered and then comes from the
    driver's token and hello. ``status`` is what ``suspend`` and ``resume`` change; missing, it is
    ``active``. ``{}`` erases the entry.
    """

    alias: Alias | UnsetType = UNSET
    vehicle: RegisteredVehicle | UnsetType = UNSET
    qualifications: Items | UnsetType = UNSET
    status: DriverStatus = "active"


class DriverProfileView(Struct, frozen=True):
    """A driver's entry in the register, as it was put."""

    alias: str | UnsetType = UNSET
    vehicle: messages.Vehicle | UnsetType = UNSET
    qualifications: tuple[str, ...] | UnsetType = UNSET


class RegisteredDriver(DriverView, frozen=True):
    """One driver with its entry in the register; ``profile``: null without one.

    ``alias``: by which order services see it; null: by a random name for each service.
    """

    alias: str | None = None
    status: Annotated[str, open_enum(("active", "suspended"))] = "active"
    position: DriverPosition | None = None
    profile: DriverProfileView | None = None


class DriverList(Struct, frozen=True):
    """The body of ``GET /v1/markets/{m}/drivers``."""

    items: tuple[DriverView, ...]


class FieldError(Struct, frozen=True):
    """One invalid field; ``pointer`` is an RFC 6901 JSON pointer into the body."""

    pointer: str
    detail: str


class Problem(Struct, frozen=True):
    """An RFC 9457 problem. ``job``: for a duplicate, the job that exists already; ``missing`` and
    ``tries_left``: as in `error` of the driver socket.
    """

    type: str
    title: str
    status: int
    code: Annotated[str, open_enum(ProblemCode)]
    detail: str
    errors: tuple[FieldError, ...] | UnsetType = UNSET
    job: str | UnsetType = UNSET
    missing: tuple[str, ...] | UnsetType = UNSET
    tries_left: int | UnsetType = UNSET


class Readiness(Struct, frozen=True):
    """A node that accepts traffic. ``warnings``: what its operator should fix, one line each."""

    status: str
    warnings: tuple[str, ...] = ()
