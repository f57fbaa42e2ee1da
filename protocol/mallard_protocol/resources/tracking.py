"""What the customer of a job may see of its way."""

from msgspec import Struct

from mallard_protocol.fields import JobStateName
from mallard_protocol.instants import Instant
from mallard_protocol.resources.jobs import Eta


class TrackedDriver(Struct, frozen=True):
    """Who brings it. The place is null unless the driver's next stop is this job's.

    ``at``: when the driver was there.
    """

    alias: str
    vehicle: str | None
    lat: float | None
    lon: float | None
    heading_deg: float | None
    at: Instant | None


class Tracking(Struct, frozen=True):
    """Where a job is. ``driver`` is null unless a driver holds it.

    ``stops_before``: how many stops the driver makes before the next one of this job; null without
    a driver.
    """

    state: JobStateName
    eta: Eta
    driver: TrackedDriver | None
    stops_before: int | None
