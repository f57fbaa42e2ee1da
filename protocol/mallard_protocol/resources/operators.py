"""What operators do by hand to jobs and drivers."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from mallard_protocol import messages
from mallard_protocol.fields import Id
from mallard_protocol.resources.jobs import Reason


class MeetingPointRequest(messages.MeetingPoint, frozen=True, forbid_unknown_fields=True):
    """Where two drivers meet."""


class AssignRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/assign``."""

    driver: Id


class UnassignRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/unassign``."""

    reason: Reason


class CloseRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/jobs/{id}/close``."""

    state: Literal["returned", "delivered", "lost"]
    reason: Reason


class TransferRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/markets/{m}/drivers/{id}/transfer``.

    Missing: ``jobs``: all that the driver has on board; ``driver``: any that has room; ``at``: the
    driver's last position.
    """

    jobs: Annotated[tuple[Id, ...], Meta(min_length=1, max_length=50)] | UnsetType = UNSET
    driver: Id | UnsetType = UNSET
    at: MeetingPointRequest | UnsetType = UNSET


class SuspendRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/markets/{m}/drivers/{id}/suspend``."""

    reason: Reason
