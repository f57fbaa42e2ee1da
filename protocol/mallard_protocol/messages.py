"""The messages of the driver socket in both directions, one struct each.

Times are integers: epoch milliseconds of the server's clock. Unknown fields are ignored when
decoding. An absent optional field (`UNSET`) is not sent at all; from a client the codec accepts nil
as well.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from mallard_protocol.codes import (
    AnswerAction,
    BarredWhy,
    ErrorCode,
    OfferClosedWhy,
    OnMissing,
    OnShort,
    OnUndeliverable,
    RequiredProof,
    StateWhy,
)
from mallard_protocol.fields import (
    AccuracyM,
    Attempt,
    DriverStateName,
    EpochMs,
    HeadingDeg,
    Id,
    Items,
    JobReasonName,
    JobStateName,
    Lat,
    Lon,
    ParcelCount,
    RequestId,
    ShopStateName,
    SpeedMps,
    Text,
    Token,
    open_enum,
)
from mallard_protocol.lifecycle import Step, Wish

ProofKind = Literal["code", "photo", "signature", "age_checked"]
DeviceKind = Literal["fcm", "apns", "webpush"]
ProblemKind = Literal[
    "not_ready",
    "store_closed",
    "missing",
    "partial",
    "does_not_fit",
    "customer_unreachable",
    "refused",
    "wrong_address",
    "breakdown",
    "unsafe",
    "accident",
]

MAX_FIXES = 100

Fix = tuple[
    Annotated[EpochMs, Meta(title="at_ms")],
    Annotated[Lat, Meta(title="lat")],
    Annotated[Lon, Meta(title="lon")],
    Annotated[AccuracyM | None, Meta(title="acc_m")],
    Annotated[HeadingDeg | None, Meta(title="heading_deg")],
    Annotated[SpeedMps | None, Meta(title="speed_mps")],
]


class Vehicle(Struct, frozen=True):
    """What a vehicle can carry at once. Without ``kind`` it is a car, without a limit it has the
    usual room of its kind: a car 12 jobs, 200 kg and 500 l; a van 40, 800 kg and 4,000 l; a bike 3,
    20 kg and 80 l; a driver on foot, or with a kind that the engine does not know, 2, 10 kg and
    40 l. Where the operators' register or the token states a vehicle, that of a hello narrows it.
    """

    kind: Id | UnsetType = UNSET
    max_jobs: Annotated[int, Meta(ge=1, le=50)] | UnsetType = UNSET
    max_weight_g: Annotated[int, Meta(ge=0, le=100_000_000)] | UnsetType = UNSET
    max_volume_l: Annotated[float, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    equipment: Items | UnsetType = UNSET


class HelloPosition(Struct, frozen=True):
    """The position of a driver's hello. Without ``at_ms`` it counts as current."""

    lat: Lat
    lon: Lon
    acc_m: AccuracyM | UnsetType = UNSET
    at_ms: EpochMs | UnsetType = UNSET


class Held(Struct, frozen=True):
    """A job that the app believes it holds, or has delivered without a reply yet.

    ``at_ms``: when it reached ``state``.
    """

    job: Id
    attempt: Attempt
    state: Annotated[str, Meta(max_length=32)]
    at_ms: EpochMs | UnsetType = UNSET


class App(Struct, frozen=True):
    """The name and version of the app, for logs and support."""

    name: Annotated[str, Meta(max_length=64)] = ""
    version: Annotated[str, Meta(max_length=64)] = ""


class Device(Struct, frozen=True):
    """Where the operator's push service can wake the app while it has no socket."""

    kind: DeviceKind
    token: Annotated[str, Meta(min_length=1, max_length=4096)]


class Proof(Struct, frozen=True):
    """Proof of a delivery."""

    kind: ProofKind
    value: Text = ""


class _Client(Struct, frozen=True, tag_field="type"):
    """A message from a driver app."""


class Hello(_Client, frozen=True, tag="hello"):
    """The first frame, within 5 s."""

    token: Token | UnsetType = UNSET
    now_ms: EpochMs | UnsetType = UNSET
    vehicle: Vehicle | UnsetType = UNSET
    position: HelloPosition | UnsetType = UNSET
    holds: Annotated[tuple[Held, ...], Meta(max_length=50)] = ()
    app: App | UnsetType = UNSET
    device: Device | UnsetType = UNSET


class Status(_Client, frozen=True, tag="status"):
    """What the driver wants now, and until when."""

    id: RequestId
    state: Wish
    until_ms: EpochMs | UnsetType = UNSET


class Location(_Client, frozen=True, tag="location"):
    """Position fixes, in any order. No reply."""

    fixes: Annotated[tuple[Fix, ...], Meta(min_length=1, max_length=MAX_FIXES)]
    now_ms: EpochMs | UnsetType = UNSET


class OfferAck(_Client, frozen=True, tag="offer_ack"):
    """The app shows the offer. No reply."""

    offer: Id


class Accept(_Client, frozen=True, tag="accept"):
    """The driver takes the offer; implies ``offer_ack``."""

    id: RequestId
    offer: Id


class Decline(_Client, frozen=True, tag="decline"):
    """The driver does not want the offer."""

    id: RequestId
    offer: Id
    reason: Text | UnsetType = UNSET


class Progress(_Client, frozen=True, tag="progress"):
    """A step of a held job. Repeatable.

    ``store`` and ``parcels`` belong to ``collected``: what that shop handed over; without
    ``parcels`` everything, 0: nothing was there. A later number corrects an earlier one.

    ``jobs``: with `picked_up` of a transfer, which of the carried jobs the driver got; all of them
    if it is missing.
    ``at_door``, ``returning`` and ``resume`` need ``at_ms``: one that is not later than the last of
    these taken is a repeat.
    """

    id: RequestId
    job: Id
    attempt: Attempt
    step: Step
    at_ms: EpochMs | UnsetType = UNSET
    proof: Proof | UnsetType = UNSET
    reason: Text | UnsetType = UNSET
    store: Id | UnsetType = UNSET
    parcels: ParcelCount | UnsetType = UNSET
    jobs: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=50)] | UnsetType = UNSET


class Problem(_Client, frozen=True, tag="problem"):
    """A problem at a store, with a customer or on the road.

    ``attempt`` fences a problem of a job: a report with an old attempt has no effect.
    """

    id: RequestId
    kind: ProblemKind
    job: Id | UnsetType = UNSET
    store: Id | UnsetType = UNSET
    until_ms: EpochMs | UnsetType = UNSET
    text: Text | UnsetType = UNSET
    attempt: Attempt | UnsetType = UNSET
    at_ms: EpochMs | UnsetType = UNSET


class Auth(_Client, frozen=True, tag="auth"):
    """A new token of the same driver."""

    id: RequestId
    token: Token


class Pong(_Client, frozen=True, tag="pong"):
    """The answer to ``ping``."""


ClientMessage = (
    Hello | Status | Location | OfferAck | Accept | Decline | Progress | Problem | Auth | Pong
)


class MallRef(Struct, frozen=True):
    """Where to collect: the mall's position and the best gate to drive to."""

    id: str
    name: str
    lat: float
    lon: float
    gate: str
    gate_lat: float
    gate_lon: float


class StoreVisit(Struct, frozen=True):
    """One store of a job, in the order to visit.

    ``state`` and ``collected_parcels`` are absent from an offer.
    """

    store: str
    name: str
    gate: str
    floor: int
    ready_ms: int
    parcels: int
    pickup_code: str | UnsetType = UNSET
    state: ShopStateName | UnsetType = UNSET
    collected_parcels: int | UnsetType = UNSET


class DropOff(Struct, frozen=True):
    """Where to deliver. Before acceptance only a rounded position and the deadline."""

    lat: float
    lon: float
    deadline_ms: int
    address: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    contact: str | UnsetType = UNSET
    note: str | UnsetType = UNSET


class ParcelLoad(Struct, frozen=True):
    """How much there is to carry."""

    count: int
    weight_g: int
    volume_l: float


class PayAmount(Struct, frozen=True):
    """What the driver earns."""

    amount_minor: int
    currency: str


class JobEta(Struct, frozen=True):
    """Expected times, epoch ms; nil while unknown."""

    pickup_ms: int | None
    dropoff_ms: int | None


class MeetingPoint(Struct, frozen=True):
    """Where two drivers meet."""

    lat: Lat
    lon: Lon


class SocketTransfer(Struct, frozen=True):
    """The open transfer of a job on board, as its present holder sees it.

    ``alias``: the name of the driver who comes, ``driver`` if it has none, nil while nobody comes;
    ``eta``: when it comes (epoch ms). The holder gives the ``code`` to that driver together with
    the parcels.
    """

    id: str
    at: MeetingPoint
    alias: str | None
    eta: int | None
    code: str


class ReturnTo(Struct, frozen=True):
    """Where to bring a job's parcels back. ``open_until``: epoch ms, nil if it never closes."""

    kind: Literal["store", "station"]
    mall: str
    store: str
    lat: float
    lon: float
    open_until: int | None


class Answer(Struct, frozen=True):
    """What the order service, or the order's own rule, answers to a problem."""

    problem: str
    action: Annotated[str, open_enum(AnswerAction)]
    text: str = ""


class SocketJob(Struct, frozen=True):
    """A job as a driver sees it: short in an ``offer``, complete once the driver holds it.

    ``handover_code``: the driver shows it at the counter; a new one with each attempt. ``on_short``
    and ``on_missing``: what the order does when parcels are missing.

    ``kind``: ``transfer`` for the meeting with another driver who hands the jobs ``carries`` over.
    ``return_to``: while it is ``returning``. ``answer``: the last one to a problem of this visit.
    """

    job: str
    attempt: int
    state: JobStateName
    mall: MallRef
    stores: tuple[StoreVisit, ...]
    dropoff: DropOff
    parcels: ParcelLoad
    requires: tuple[str, ...]
    eta: JobEta
    external_id: str | UnsetType | None = UNSET
    pay: PayAmount | UnsetType = UNSET
    handover_code: str | UnsetType = UNSET
    on_short: Annotated[str, open_enum(OnShort)] | UnsetType = UNSET
    on_missing: Annotated[str, open_enum(OnMissing)] | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    carries: tuple[str, ...] | UnsetType = UNSET
    transfer: SocketTransfer | UnsetType = UNSET
    on_undeliverable: Annotated[str, open_enum(OnUndeliverable)] | UnsetType = UNSET
    return_to: ReturnTo | UnsetType = UNSET
    answer: Answer | UnsetType = UNSET
    proof_required: tuple[Annotated[str, open_enum(RequiredProof)], ...] = ()


class Barred(Struct, frozen=True):
    """Why a driver gets no offers. A nil ``until_ms`` means that no end is known."""

    why: Annotated[str, open_enum(BarredWhy)]
    until_ms: int | None = None


class _Server(Struct, frozen=True, tag_field="type"):
    """A message to a driver app."""


class Offer(_Server, frozen=True, tag="offer"):
    """An offer of one or several jobs to the driver."""

    seq: int
    offer: str
    attempt: int
    jobs: tuple[SocketJob, ...]
    mall: MallRef
    eta_s: int
    distance_m: int
    expires_ms: int
    server_time_ms: int
    pay: PayAmount | UnsetType = UNSET


class Welcome(_Server, frozen=True, tag="welcome"):
    """The complete state of a driver, after ``hello`` and after the store has lost writes.

    It replaces offer, jobs, state and ``seq`` (which may decrease). The app sends unanswered
    requests again. ``say_hello``: send ``hello`` once more, with ``holds``.
    """

    session: str
    driver: str
    market: str
    seq: int
    server_time_ms: int
    ping_ms: int
    location_ms: int
    max_bytes: int
    token_expires_ms: int
    state: DriverStateName
    offer: Offer | None
    jobs: tuple[SocketJob, ...]
    barred: Barred | None = None
    say_hello: bool | UnsetType = UNSET


class Reply(_Server, frozen=True, tag="reply"):
    """The answer to a successful request.

    ``jobs``: in full, those of an accepted offer, or those that a transfer has given to the driver.
    ``detail``: the complete job, if a custody claim has assigned it to the driver at ``attempt``.
    ``detail``: the complete job, if a custody claim has assigned it to the driver at ``attempt``,
    or if it is now ``returning``.
    """

    id: int
    state: DriverStateName
    jobs: tuple[SocketJob, ...] | UnsetType = UNSET
    job: str | UnsetType = UNSET
    job_state: JobStateName | UnsetType = UNSET
    attempt: int | UnsetType = UNSET
    detail: SocketJob | UnsetType = UNSET
    barred: Barred | None = None


class Error(_Server, frozen=True, tag="error"):
    """A frame was refused. ``retry``: whether the same frame may succeed later.

    ``missing``: the kinds of proof that `proof_needed` requires; ``tries_left``: how many more
    wrong values `wrong_code` allows.
    """

    id: int | None
    code: Annotated[str, open_enum(ErrorCode)]
    message: str
    retry: bool
    missing: tuple[str, ...] | UnsetType = UNSET
    tries_left: int | UnsetType = UNSET


class OfferClosed(_Server, frozen=True, tag="offer_closed"):
    """The offer has ended without an answer of the driver."""

    seq: int
    offer: str
    why: Annotated[str, open_enum(OfferClosedWhy)]


class JobChanged(_Server, frozen=True, tag="job"):
    """A job that the driver holds or held has changed.

    ``driver_state``: the driver's state after the change. ``detail``: the complete job, if it is
    new to the driver or something of it has changed. ``answer``: with ``reason`` ``answer``.
    """

    seq: int
    job: str
    attempt: int
    state: JobStateName
    reason: JobReasonName | UnsetType = UNSET
    detail: SocketJob | UnsetType = UNSET
    driver_state: DriverStateName | UnsetType = UNSET
    answer: Answer | UnsetType = UNSET


class StateChanged(_Server, frozen=True, tag="state"):
    """The driver's state and why the server sends it; ``until_ms``: when it ends."""

    seq: int
    state: DriverStateName
    why: Annotated[str, open_enum(StateWhy)]
    until_ms: int | UnsetType = UNSET


class Pace(_Server, frozen=True, tag="pace"):
    """Report positions at this interval from now on; ``welcome`` resets it."""

    location_ms: int


class Ping(_Server, frozen=True, tag="ping"):
    """Answer with ``pong``; any other frame counts as well."""


class AuthExpiring(_Server, frozen=True, tag="auth_expiring"):
    """The token expires at ``at_ms``: send ``auth`` with a new one."""

    at_ms: int


class Drain(_Server, frozen=True, tag="drain"):
    """The node shuts down: connect again after ``reconnect_after_ms``."""

    reconnect_after_ms: int


ServerMessage = (
    Welcome
    | Reply
    | Error
    | Offer
    | OfferClosed
    | JobChanged
    | StateChanged
    | Pace
    | Ping
    | AuthExpiring
    | Drain
)
