"""The bodies of the operations of role `store`: the counter of one shop.

A counter sees the jobs of every order service as far as they concern its shop: never the customer,
the pay, the metadata or another shop.
"""

from msgspec import UNSET, Struct, UnsetType

from mallard_protocol.instants import Instant


class ShopHoursRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST …/hours``. Without ``closed_until``, or with a past one, the shop is open.

    No driver is searched for its jobs while it is closed. A later report replaces an earlier one.
    """

    closed_until: Instant | UnsetType = UNSET


class ShopHours(Struct, frozen=True):
    """Until when the shop has said that it is closed; null if it is open."""

    closed_until: Instant | None
