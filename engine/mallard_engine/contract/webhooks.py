"""Webhooks: their limits, and what an order service or an operator says about its endpoints.

A delivery is an event as its streams show it, in the form of Standard Webhooks. What they read of
an endpoint is in `mallard_protocol.webhooks`.
"""

from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from mallard_protocol.events import EventType
from mallard_protocol.fields import Id
from mallard_protocol.instants import Instant
from mallard_protocol.webhooks import DeliveryError, DisabledReason

MAX_WEBHOOKS: Final = 50
"""Endpoints of one service, or of one operator."""
MAX_WAITING: Final = 10_000
"""So many deliveries that wait for an endpoint disable it."""
PACED_AT: Final = MAX_WAITING // 2
"""While an endpoint succeeds, no more events are queued for it than this; it reads them later."""
BACKLOG_PATIENCE_S: Final = 60
"""An endpoint succeeds if it has not failed for so long without a success."""
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


DISABLED_MEANING: Final[dict[DisabledReason, str]] = {
    DisabledReason.OWNER: "its owner has disabled it",
    DisabledReason.GONE: "it answered 410",
    DisabledReason.FAILING: "no delivery has succeeded for three days",
    DisabledReason.BACKLOG: "10,000 deliveries waited for it, and none succeeded",
    DisabledReason.REVOKED: "the tokens of its service were revoked",
}


ERROR_MEANING: Final[dict[DeliveryError, str]] = {
    DeliveryError.STATUS: "the answer was not 2xx",
    DeliveryError.REDIRECT: "the answer was a redirect, which is not followed",
    DeliveryError.TIMEOUT: "there was no answer in time",
    DeliveryError.NAME: "the host has no address",
    DeliveryError.ADDRESS: "the host has no address that deliveries may go to",
    DeliveryError.CONNECTION: "the connection was refused or broke",
    DeliveryError.TLS: "the certificate or the TLS handshake was not good",
    DeliveryError.PROTOCOL: "the answer was not HTTP",
}

Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2_048,
        description="https, a public host, port 443 or from 1024; no user, no fragment",
    ),
]
# A closed list: a type that is misspelt is an error, not an endpoint without events.
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


class ReplayRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/webhooks/{id}/replay``: events recorded from this moment on."""

    from_: Instant = field(name="from")
