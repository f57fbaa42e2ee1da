"""The messages to a driver app."""

from typing import Annotated, Literal

from msgspec import UNSET, Struct, UnsetType

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
    DriverStateName,
    JobReasonName,
    JobStateName,
    Lat,
    Lon,
    ShopStateName,
    open_enum,
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
    """The complete state of a driver, after ``hello`` and after Redis has lost writes.

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
