"""The port of the counters of shops."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mallard_engine.ports.drivers import Answered
from mallard_engine.ports.effects import Effects
from mallard_engine.ports.jobs import JobPage, JobRef


class Shops(Protocol):
    """What the counter of a shop reads and reports."""

    async def set_hours(
        self, market: str, mall: str, store: str, until_ms: int, actor: str
    ) -> Effects:
        """Close a shop for its counter until ``until_ms`` (epoch ms); 0 or a past time opens it.

        No driver is sent for its jobs who would be there before. `apply_hours` follows for each of
        the shop's open jobs, and for those that come back to it.
        """

    async def apply_hours(self, ref: JobRef, store: str, actor: str) -> Effects:
        """Apply to one job what its shop has said of its hours; a repeat has no further effect."""

    async def hand_over(
        self, ref: JobRef, store: str, code: str, parcels: int | None, actor: str
    ) -> Answered:
        """Hand over a shop's parcels against the code that the driver shows.

        The effect is that of the driver's own ``collected``. The code of an earlier holder is that
        holder's claim of custody. Without ``parcels``: all that are there.

        Raises:
            NoSuchJob: There is no such job, or it has no parcels there.
            WrongState: No driver can have them now.
            Refused: ``wrong_code``, or ``bad_field`` (more parcels than ordered).
            TooManyWrongCodes: Of this job, or of this shop.
        """

    async def pickups(
        self, market: str, mall: str, store: str, *, since_ms: int, limit: int, cursor: str | None
    ) -> JobPage:
        """Return a page of a shop's jobs of all services, newest first.

        Those that have not ended, and those whose parcels were collected since ``since_ms``. A
        page reads a bounded number of jobs: it may be short or empty and still have a next cursor.

        Args:
            market: The market.
            mall: The shop's mall.
            store: The shop.
            since_ms: The start of the shop's day.
            limit: The most jobs to return.
            cursor: List jobs with a lower id; None: from the newest.
        """

    async def returns(
        self, market: str, mall: str, store: str, *, limit: int, cursor: str | None
    ) -> JobPage:
        """Return a page of the jobs that go back to a shop, newest first; as `pickups`."""

    async def vehicles(self, market: str, drivers: Sequence[str]) -> Mapping[str, str]:
        """Return the kind of vehicle of each of these drivers that is known."""
