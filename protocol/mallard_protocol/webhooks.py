"""What an order service or an operator reads of its endpoints of webhooks."""

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Struct, UnsetType, field

from mallard_protocol.fields import open_enum
from mallard_protocol.instants import Instant


class WebhookState(StrEnum):
    """Whether an endpoint gets events."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class DisabledReason(StrEnum):
    """Why an endpoint gets no more events."""

    OWNER = "owner"
    GONE = "gone"
    FAILING = "failing"
    BACKLOG = "backlog"
    REVOKED = "revoked"


class DeliveryOutcome(StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GAVE_UP = "gave_up"


class DeliveryError(StrEnum):
    """Why an attempt failed."""

    STATUS = "status"
    REDIRECT = "redirect"
    TIMEOUT = "timeout"
    NAME = "name"
    ADDRESS = "address"
    CONNECTION = "connection"
    TLS = "tls"
    PROTOCOL = "protocol"


class Webhook(Struct, frozen=True):
    """One endpoint.

    ``owner``: its service, or the operator that made it. ``waiting``: events not yet delivered.
    ``failing_since``: the first failure since its last success. ``missed_until``: it was so far
    behind that events recorded before were no longer kept. While it is disabled:
    ``disabled_at``, ``disabled_reason``, and ``undelivered_since``: the oldest event that waited
    then, from which a replay may start.
    """

    id: str
    owner: str
    url: str
    types: tuple[str, ...]
    markets: tuple[str, ...]
    description: str
    state: Annotated[str, open_enum(WebhookState)]
    waiting: int
    created_at: Instant
    updated_at: Instant
    failing_since: Instant | UnsetType = UNSET
    missed_until: Instant | UnsetType = UNSET
    disabled_at: Instant | UnsetType = UNSET
    disabled_reason: Annotated[str, open_enum(DisabledReason)] | UnsetType = UNSET
    undelivered_since: Instant | UnsetType = UNSET


class NewWebhook(Webhook, frozen=True, kw_only=True):
    """A new endpoint with its ``secret``, which is shown this once."""

    secret: str


class RotatedSecret(Struct, frozen=True):
    """The new secret, shown this once; until ``previous_until`` the one before signs as well."""

    id: str
    secret: str
    previous_until: Instant


class WebhookList(Struct, frozen=True):
    """The body of ``GET /v1/webhooks``."""

    items: tuple[Webhook, ...]
    next_cursor: str | None = None


class Replay(Struct, frozen=True):
    """A replay that has begun. It reaches from ``from``, or the oldest event kept, to now."""

    id: str
    from_: Instant = field(name="from")


class Delivery(Struct, frozen=True):
    """One attempt at a delivery. ``event``: its ``webhook-id``; ``next_at``: when it is repeated.

    ``status``: of the answer; ``error``: why it failed.
    """

    event: str
    type: str
    attempt: int
    at: Instant
    duration_ms: int
    outcome: Annotated[str, open_enum(DeliveryOutcome)]
    status: int | UnsetType = UNSET
    error: Annotated[str, open_enum(DeliveryError)] | UnsetType = UNSET
    next_at: Instant | UnsetType = UNSET


class DeliveryList(Struct, frozen=True):
    """The body of ``GET /v1/webhooks/{id}/deliveries``: attempts, newest first."""

    items: tuple[Delivery, ...]
    next_cursor: str | None
