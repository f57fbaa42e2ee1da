"""Jobs: what happened to them, how they are submitted."""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from mallard_engine.core.model.load import Need
from mallard_protocol.lifecycle import HELD, TERMINAL, JobState, Risk, ShopState

TRANSFER = "transfer"
"""The kind of a job that hands parcels on board over to another driver."""


class StoreHold(NamedTuple):
    """A store that cannot serve drivers: until when (epoch ms), and why.

    `why` is `not_ready` or `store_closed`, as a driver or the shop reported; `own_word_ms`: until
    when the shop itself said that it is closed, 0 if it did not.
    """

    until_ms: int
    why: str
    own_word_ms: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """The outcome of one driver's offer of a job."""

    driver: str
    attempt: int
    outcome: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One change of a job's state.

    `at_ms`: when it was recorded; `occurred_ms`: when it happened by the driver app's clock,
    limited to the time between the previous entry and `at_ms`.
    """

    state: str
    at_ms: int
    actor: str
    cause: str
    occurred_ms: int = 0


@dataclass(frozen=True, slots=True)
class UploadedImage:
    """A photo or signature that a driver has uploaded. `job`: whose proof it is; empty: unused."""

    driver: str
    media_type: str
    size: int
    at_ms: int
    job: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenProof:
    """A proof that a driver gave with a step. `reported_ms`: when, by the driver app's clock."""

    kind: str
    value: str
    step: str
    at_ms: int
    driver: str
    reported_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """The last answer to a problem, and who gave it."""

    action: str
    text: str
    at_ms: int
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedProblem:
    """A problem that a driver reported with a job. `until_ms`: the store is held until then."""

    id: str
    kind: str
    store: str
    text: str
    at_ms: int
    driver: str
    state: str
    until_ms: int | None = None
    reported_ms: int | None = None
    answer: GivenAnswer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnPlace:
    """Where a job's parcels go back to.

    `kind`: `store` or `station`; `open_until`: epoch ms, None if it never closes.
    """

    kind: Literal["store", "station"]
    mall: str
    store: str
    lat: float
    lon: float
    open_until: int | None = None


@dataclass(frozen=True, slots=True)
class ReturnPlan:
    """Where a job goes back to, and the code that the place shows."""

    place: ReturnPlace
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemAnswer:
    """The last answer to a problem that was pushed to the holder."""

    problem: str
    action: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """Who cancelled a job, why, and in which state it was."""

    by: str
    reason: str
    note: str
    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """What is known of a job's parcels at one shop.

    `there`: how many the shop has said to have, if fewer than ordered. `holds`: how often a
    driver's report has held the job for this shop. `wait_ms`: until when it is not ready, as the
    holder at `wait_attempt` reported.
    """

    store: str
    state: ShopState = ShopState.WAITING
    collected: int = 0
    holds: int = 0
    there: int | None = None
    wait_ms: int | None = None
    wait_attempt: int | None = None


@dataclass(frozen=True, slots=True)
class JobHold:
    """Why a `scheduled` job waits for a shop, and until when (epoch ms)."""

    why: str
    store: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class GivenReason:
    """The driver's text on why it declined a job or gave it up."""

    driver: str
    attempt: int
    text: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored.

    `body`: the request as JSON with defaults filled in; `card`: what a driver may see of the job
    before accepting. Both are opaque to the core.
    """

    id: str
    market: str
    service: str
    mall: str
    state: JobState
    attempt: int
    driver: str | None
    offer: str | None
    reason: str | None
    created_ms: int
    updated_ms: int
    expires_ms: int
    deadline_ms: int
    release_ms: int
    priority: int
    external_id: str | None
    body: bytes
    card: bytes
    need: Need
    eta_pickup_ms: int | None
    eta_dropoff_ms: int | None
    timeline: tuple[TimelineEntry, ...]
    asked: tuple[Asked, ...]
    # When its holder was first expected to have it; the `eta_*` fields follow its trip.
    promised_ms: int | None = None
    proofs: tuple[GivenProof, ...] = ()
    problems: tuple[ReportedProblem, ...] = ()
    reasons: tuple[GivenReason, ...] = ()
    # The driver's pay, once it has risen: a holder keeps what it was offered.
    raised_pay_minor: int | None = None
    risk: Risk = Risk.NONE
    # Has only the shops about which something is known.
    shops: tuple[Shop, ...] = ()
    hold: JobHold | None = None
    handover_key: str = field(default="", repr=False)
    # The token of its customer's link; empty: it has none, or tracking has been ended.
    tracking: str = field(default="", repr=False)
    # Of a job on board: its last transfer, as mall/job.
    transfer: str = ""
    # Of a transfer: the driver who hands over, the jobs, and the code that proves the meeting.
    kind: str = ""
    first: str = ""
    carries: tuple[str, ...] = ()
    code: str = ""

    @property
    def transfer_job(self) -> str:
        """The id of its last transfer, which may be over; empty if it had none."""
        return self.transfer.rpartition("/")[2]

    delivery_attempts: int = 0
    # The answer was to leave it at the door, with a photo.
    is_left: bool = False
    # When the rule for the door applies unless an answer comes: an entry of the due set.
    door_ms: int | None = None
    answer: ProblemAnswer | None = None
    # `return_to`: the place that it goes, or went, back to. `return_code`: the code of that place.
    return_to: ReturnPlace | None = None
    return_code: str = ""
    cancel_requested: bool = False
    cancelled: Cancelled | None = None
    redelivery_of: str | None = None
    redelivered_as: str | None = None
    # The customer's data has been removed.
    is_erased: bool = False

    @property
    def returning_since_ms(self) -> int:
        """When its way back began, by the driver's clock; 0 unless it is on its way back."""
        if self.state is not JobState.RETURNING:
            return 0
        entries = reversed(self.timeline)
        return next((it.occurred_ms for it in entries if it.state == JobState.RETURNING), 0)

    @property
    def arrived_ms(self) -> int | None:
        """When its driver arrived at the mall; None unless the job is `at_mall`."""
        if self.state is not JobState.AT_MALL:
            return None
        entries = reversed(self.timeline)
        return next((it.at_ms for it in entries if it.state == JobState.AT_MALL), None)

    @property
    def collected_ms(self) -> int | None:
        """When the first parcel was on board; None before that."""
        entries = iter(self.timeline)
        return next((it.at_ms for it in entries if it.state == JobState.PICKED_UP), None)

    @property
    def ended_ms(self) -> int | None:
        """When the job ended; None before that."""
        return self.timeline[-1].at_ms if self.terminal else None

    @property
    def terminal(self) -> bool:
        """Whether the job is in a terminal state."""
        return self.state in TERMINAL

    @property
    def held(self) -> bool:
        """Whether a driver holds it."""
        return self.state in HELD


@dataclass(frozen=True, slots=True)
class Submission:
    """A validated order to be stored.

    `key`, `body_hash`: for idempotency; `pin`: the code that the customer gives at the door;
    `images_required`: which of photo and signature the delivery needs; `pickup_codes`: the codes of
    its stores; `handover_key`: random, see `handover`.
    """

    job: str
    market: str
    service: str
    mall: str
    key: str
    body_hash: str
    external_id: str | None
    state: JobState
    release_ms: int
    body: bytes
    card: bytes
    need: Need
    needs_age_check: bool = False
    images_required: tuple[str, ...] = ()
    pin: str = ""
    customer_ref: str = ""
    pickup_codes: tuple[str, ...] = ()
    handover_key: str = field(default="", repr=False)
    # The token of its customer's link; empty: it has none, or tracking has been ended.
    tracking: str = field(default="", repr=False)
    # The least time until a driver has the parcels in hand, and from there to the door.
    lead_ms: int = 0
    haul_ms: int = 0
    # The returned job whose parcels it delivers, and the earlier redelivery that it replaces.
    redelivery_of: str | None = None
    replaces: str = ""

    def __post_init__(self) -> None:
        # Rounds read only the need of a queued job.
        object.__setattr__(self, "need", replace(self.need, service=self.service))
