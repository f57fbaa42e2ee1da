"""The bodies of the operations of role `store`: the counter of one shop.

A counter sees the jobs of every order service as far as they concern its shop: never the customer,
the pay, the metadata or another shop.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from mallard_protocol.fields import JobStateName, ParcelCount
from mallard_protocol.instants import Instant
from mallard_protocol.resources import ShopView


class PickupDriver(Struct, frozen=True):
    """Who comes for the parcels: a name for this shop, and the kind of vehicle."""

    alias: str
    vehicle: str | None


class PickupEta(Struct, frozen=True):
    """When the driver is expected; null while unknown. After the pick-up, when that was."""

    pickup: Instant | None


class ShopPickup(Struct, frozen=True):
    """A job, as far as it concerns the shop: ``stores`` holds its own entry."""

    id: str
    state: JobStateName
    stores: tuple[ShopView, ...]
    driver: PickupDriver | None
    eta: PickupEta
    external_id: str | UnsetType = UNSET


class ShopPickupList(Struct, frozen=True):
    """A page of a shop's jobs of all order services, newest first."""

    items: tuple[ShopPickup, ...]
    next_cursor: str | None


class PickupReport(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST …/pickups/{job}``: what the shop has of a job's parcels.

    ``parcels``: how many are there, for ``short``. ``ready_at``: with ``ready``, when they will be;
    by default they are ready now.
    """

    state: Literal["ready", "short", "missing"]
    parcels: ParcelCount | UnsetType = UNSET
    ready_at: Instant | UnsetType = UNSET


class HandoverRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST …/pickups/{job}/handover``.

    ``code``: the `handover_code` that the driver shows. ``parcels``: how many are handed over; by
    default all that are there.
    """

    code: Annotated[str, Meta(min_length=1, max_length=64)]
    parcels: Annotated[int, Meta(ge=1, le=1_000)] | UnsetType = UNSET


class ShopReturn(Struct, frozen=True):
    """A job whose ``parcels`` come back to the shop. The driver types the ``code``."""

    id: str
    state: JobStateName
    parcels: int
    code: str | None
    driver: PickupDriver | None
    external_id: str | UnsetType = UNSET


class ShopReturnList(Struct, frozen=True):
    """A page of the jobs that come back to a shop, newest first."""

    items: tuple[ShopReturn, ...]
    next_cursor: str | None


class ShopHoursRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST …/hours``. Without ``closed_until``, or with a past one, the shop is open.

    No driver is sent for its jobs who would be there before it opens. A later report replaces an
    earlier one.
    """

    closed_until: Instant | UnsetType = UNSET


class ShopHours(Struct, frozen=True):
    """Until when the shop has said that it is closed; null if it is open."""

    closed_until: Instant | None
