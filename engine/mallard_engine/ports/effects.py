"""What a transition asks of its caller: pushes, rounds, timers."""

from dataclasses import dataclass
from enum import StrEnum

from mallard_engine.core.model import LiveOffer, ProblemAnswer


class PushKind(StrEnum):
    """What a push says, with the fields of a `Push` that it fills."""

    OFFER = "offer"
    """``offer``."""
    OFFER_CLOSED = "offer_closed"
    """``offer_id``, ``why``."""
    JOB = "job"
    """``job``, ``mall``, ``attempt``, ``state``, ``reason``, ``driver_state``, ``answer``."""
    STATE = "state"
    """``state``, ``why``, ``until_ms``."""
    REPLACED = "replaced"
    """``epoch``; ``seq`` is 0."""
    UNKNOWN = ""
    """Written by a newer engine; this one has no frame for it."""


@dataclass(frozen=True, slots=True)
class Push:
    """A message for a driver's socket. ``seq`` is the driver's own counter."""

    driver: str
    seq: int
    kind: PushKind
    offer: LiveOffer | None = None
    offer_id: str = ""
    why: str = ""
    job: str = ""
    attempt: int = 0
    state: str = ""
    reason: str = ""
    mall: str = ""
    epoch: int = 0
    driver_state: str = ""
    until_ms: int | None = None
    answer: ProblemAnswer | None = None


@dataclass(frozen=True, slots=True)
class Freed:
    """A driver who has just become free, and its position."""

    driver: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class LateJob:
    """A job whose holder may come late.

    ``lost_ms``: since when the holder is silent; 0: it is connected and may be stuck.
    """

    mall: str
    job: str
    driver: str
    attempt: int
    lost_ms: int


@dataclass(frozen=True, slots=True)
class Effects:
    """What a caller should apply after a transition.

    Attributes:
        now_ms: When the transition ran.
        pushes: To be delivered to sockets.
        malls: Malls at which the search for drivers starts again.
        queued: Jobs that have just entered a queue, as (mall, job).
        freed: Drivers who became free.
        due: Due entries that were added or moved, with their times (epoch ms).
        over: Due entries that were removed.
        late: Jobs whose holders may come late.
        event: The last event that the transition appended to the market's stream.
        alerts: The kinds of alerts for operators.
        hand_overs: Drivers whose parcels are to be handed over to another one, and why.
        shops: What a shop's lack of parcels did to jobs (`held` or `failed`), and the reason.
        nothing_waits: Whether the drivers of `freed` need no round: no job of the market waits.
    """

    now_ms: int = 0
    pushes: tuple[Push, ...] = ()
    malls: tuple[str, ...] = ()
    queued: tuple[tuple[str, str], ...] = ()
    freed: tuple[Freed, ...] = ()
    due: tuple[tuple[str, int], ...] = ()
    over: tuple[str, ...] = ()
    late: tuple[LateJob, ...] = ()
    event: str = ""
    alerts: tuple[str, ...] = ()
    hand_overs: tuple[tuple[str, str], ...] = ()
    shops: tuple[tuple[str, str], ...] = ()
    nothing_waits: bool = False

    @property
    def changed_jobs(self) -> bool:
        """Whether a job has changed: then a due entry was added or removed, or a mall searches."""
        return bool(self.due or self.over or self.malls)
