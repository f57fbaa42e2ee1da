"""The messages from a driver app."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from mallard_protocol.fields import (
    AccuracyM,
    Attempt,
    EpochMs,
    HeadingDeg,
    Id,
    Items,
    Lat,
    Lon,
    ParcelCount,
    RequestId,
    SpeedMps,
    Text,
    Token,
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
