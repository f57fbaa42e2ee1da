"""Webhooks: what an order service or an operator says about its endpoints, and what it reads.

A delivery is an event as its streams show it, in the form of Standard Webhooks.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from mallard_protocol.events import EventType
from mallard_protocol.fields import Id, open_enum
from mallard_protocol.instants import Instant

MAX_WEBHOOKS: Final = 50
"""Endpoints of one service, or of one operator."""
MAX_WAITING: Final = 10_000
"""Deliveries that wait for one endpoint; with more it is disabled."""
ANSWER_WITHIN_S: Final = 10
"""An endpoint answers with 2xx within this time, or the delivery is repeated."""
ROTATION_S: Final = 86_400
"""How long the secret before the newest one still signs."""
GIVE_UP_S: Final = 3 * 86_400
"""How long a delivery is repeated, and how long an endpoint may fail before it is disabled."""
DELIVERIES_KEPT: Final = 1_000
"""Attempts in the log of an endpoint, about."""
TEST_EVENT: Final = "webhook.test"
"""The type of what `POST …/test` sends. Its id is of no event, and its `sequence` is 0."""


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


DISABLED_MEANING: Final[dict[DisabledReason, str]] = {
    DisabledReason.OWNER: "its owner has disabled it",
    DisabledReason.GONE: "it answered 410",
    DisabledReason.FAILING: "no delivery has succeeded for three days",
    DisabledReason.BACKLOG: "too many deliveries waited for it",
    DisabledReason.REVOKED: "the tokens of its service were revoked",
}


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


ERROR_MEANING: Final[dict[DeliveryError, str]] = {
    DeliveryError.STATUS: "the answer was not 2xx",
    DeliveryError.REDIRECT: "the answer was a redirect, which is not followed",
    DeliveryError.TIMEOUT: "there was no answer in time",
    DeliveryError.NAME: "the host has no address",
    DeliveryError.ADDRESS: "the host has no address that deliveries may go to",
    DeliveryError.CONNECTION: "the connection was refused or broke",
    DeliveryError.TLS: "the certificate or the TLS handshake was not good",
    DeliveryError.PROTOCOL: "the answer was no HTTP",
}

Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2_048,
        description="https, a public host, port 443 or from 1024; no user, no fragment",
    ),
]
# What is asked for of events to come: a closed list, so that a typing error is not silence.
EventTypes = Annotated[tuple[EventType, ...], Meta(max_length=len(EventType))]
Markets = Annotated[tuple[Id, ...], Meta(max_length=64)]
Description = Annotated[str, Meta(max_length=500)]


class WebhookRequest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of ``POST /v1/webhooks``.

    ``types`` empty: all but ``job.driver_moved``. ``markets`` empty or missing: all.
    """

    url: Url
    types: EventTypes
    markets: Markets = ()
    description: Description = ""


class WebhookPatch(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of ``PATCH /v1/webhooks/{id}``: what is missing stays.

    ``state: enabled`` makes an endpoint get events again, from now on; what it missed can be
    replayed.
    """

    url: Url | UnsetType = UNSET
    types: EventTypes | UnsetType = UNSET
    markets: Markets | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    state: Literal["enabled", "disabled"] | UnsetType = UNSET


class Webhook(Struct, frozen=True):
    """One endpoint.

    ``owner``: its service, or the operator that made it. ``waiting``: events not yet delivered.
    ``failing_since``: the first failure since its last success. While it is disabled:
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


class ReplayRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/webhooks/{id}/replay``: events recorded from this moment on."""

    from_: Instant = field(name="from")


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
