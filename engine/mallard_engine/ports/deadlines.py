"""The port of the due set that every node sweeps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mallard_engine.core.model import Need
from mallard_engine.ports.effects import Effects
from mallard_engine.ports.jobs import JobRef
from mallard_engine.ports.offers import Offered
from mallard_protocol.lifecycle import Outcome, Risk

# Whether a point (latitude, longitude) is around a mall.
Around = Callable[[float, float], bool]


def nowhere(_lat: float, _lon: float) -> bool:
    """Return False: the mall is not known."""
    return False


class DueKind(StrEnum):
    """What a due entry asks of a sweeper; the first part of its name in the due set."""

    RELEASE = "release"
    """A scheduled job begins to look for a driver."""
    RETRY = "retry"
    """A queued job gets another round."""
    OFFER = "offer"
    """An offer was not acknowledged or answered in time."""
    MORE = "more"
    """A staggered round offers its job to the next driver."""
    DOOR = "door"
    """No answer has come about parcels that nobody takes: the order's rule applies."""
    RETURN = "return"
    """The place that a job goes back to closes, or is to be looked at again."""
    SILENT = "silent"
    """The driver who holds a job may have gone silent."""
    DRIVER = "driver"
    """A limit of a driver's own has passed."""
    TRANSFER = "transfer"
    """A transfer, or a job that it carries, has changed."""
    UNKNOWN = ""
    """Malformed, or written by a newer engine."""


class Look(StrEnum):
    """What a market may need, found by a cheap look: something exists, or is due."""

    DUE = "due"
    LIVE = "live"
    """A node holds drivers there."""
    DEAD_NODES = "dead nodes"
    RISKS = "risks"
    ENDED_DATA = "ended data"
    ENDED_ALERTS = "ended alerts"
    UNPACKED = "unpacked"
    """Jobs that have ended are to be packed."""
    DWELLS = "dwells"
    POLICIES = "policies"
    PAUSES = "pauses"
    GONE_IMAGES = "gone images"
    ARCHIVE = "archive"


@dataclass(frozen=True, slots=True)
class DueEntry:
    """An overdue entry. ``member``: its name in the due set; ``id``: the job's or the driver's."""

    member: str
    kind: DueKind
    id: str
    mall: str = ""
    offer: str = ""


@dataclass(frozen=True, slots=True)
class Packed:
    """Jobs that were packed, the bytes of their records, and whether more may wait."""

    jobs: int = 0
    bytes: int = 0
    is_more: bool = False


class Deadlines(Protocol):
    """Due entries, and the transitions that a sweeper runs for them."""

    async def look(
        self, markets: Sequence[str], at: Sequence[Look]
    ) -> Mapping[Look, Sequence[str]]:
        """Return for each question the markets that need something.

        It is one call for all markets of a server.
        """

    async def due(self, market: str, limit: int) -> Sequence[DueEntry]:
        """Return overdue entries. Each is postponed by two seconds and never removed here."""

    async def lapse(self, entry: DueEntry) -> tuple[Outcome | None, int, Effects]:
        """End an offer that was not acknowledged or answered in time.

        Returns:
            The outcome, None if nothing is overdue; by how many milliseconds it was; the effects.
        """

    async def offer_more(self, entry: DueEntry) -> Offered:
        """Offer the job of a staggered round to the next driver, at the same attempt.

        The first accept ends the round. Verdicts: ``early`` (its time has not come), ``nobody``
        (none of its drivers may be offered the job now), ``gone`` (the round is over, or complete).
        """

    async def expire(self, ref: JobRef, reason: str, max_attempts: int) -> Effects | None:
        """End a queued job that is past its time or its last attempt; None if it is neither."""

    async def queue(self, ref: JobRef) -> Effects:
        """Move a scheduled job whose time has come into the queue."""

    async def next_opening(
        self, ref: JobRef, attempt: int, *, was: Need, need: Need, release_ms: int
    ) -> Effects | None:
        """Schedule a job for the next opening of its mall.

        Args:
            ref: The job.
            attempt: Its attempt.
            was: Its need as it was read. If it has changed since, nothing is written.
            need: Its need at the next opening.
            release_ms: When it begins to look for a driver.

        Returns:
            None if the job has changed since it was read.
        """

    async def retry_later(self, ref: JobRef, attempt: int, at_ms: int) -> Effects:
        """Postpone the next round of a queued job to ``at_ms`` at the latest."""

    async def silence(self, entry: DueEntry, is_around: Around = nowhere) -> Effects:
        """Handle a holder who may have gone silent: requeue, alert, or check again later.

        ``is_around``: whether a point is at the job's mall or just outside of it, where a holder
        may be silent for longer.
        """

    async def risks_due(self, market: str, limit: int) -> Sequence[str]:
        """Return open jobs whose risk may have changed, those that wait longest first."""

    async def look_at_risk(self, job: str) -> Risk | None:
        """Compute the risk of a job again; return it if it has changed."""

    async def driver_due(self, market: str, driver: str) -> Effects:
        """Apply a driver's own limits: stale position, cool-down, end of block or wish."""

    async def forget(self, market: str) -> int:
        """Delete at most 256 items whose retention time is over; return how many."""

    async def pack(self, market: str) -> Packed:
        """Pack some of the jobs that ended long enough ago; none if the policy packs none."""
