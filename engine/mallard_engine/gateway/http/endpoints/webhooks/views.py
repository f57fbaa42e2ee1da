"""Endpoints of webhooks and their deliveries, as their owners see them."""

from typing import Any, TypeVar

from msgspec import UNSET, UnsetType

from mallard_engine.core.webhooks.endpoints import Endpoint
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.ports import Attempt
from mallard_protocol.webhooks import Delivery, Webhook, WebhookState

View = TypeVar("View", bound=Webhook)


def webhook_view(endpoint: Endpoint, kind: type[View] = Webhook, **more: Any) -> View:  # type: ignore[assignment]
    """Return an endpoint as `kind`, which may have fields of its own."""
    why = endpoint.disabled
    return kind(
        id=endpoint.id,
        owner=endpoint.owner,
        url=endpoint.url,
        types=endpoint.types,
        markets=endpoint.markets,
        description=endpoint.description,
        state=WebhookState.ENABLED if why is None else WebhookState.DISABLED,
        waiting=endpoint.waiting,
        created_at=Moment.at_ms(endpoint.created_ms),
        updated_at=Moment.at_ms(endpoint.updated_ms),
        failing_since=_moment(endpoint.failing_ms),
        disabled_at=UNSET if why is None else Moment.at_ms(why.at_ms),
        disabled_reason=UNSET if why is None else why.reason,
        missed_until=_moment(endpoint.missed_ms),
        undelivered_since=UNSET if why is None else _moment(why.oldest_ms),
        **more,
    )


def delivery_view(attempt: Attempt) -> Delivery:
    """Return an attempt at a delivery."""
    return Delivery(
        event=attempt.event,
        type=attempt.type,
        attempt=attempt.attempt,
        at=Moment.at_ms(attempt.at_ms),
        duration_ms=attempt.duration_ms,
        outcome=attempt.outcome,
        status=UNSET if attempt.status is None else attempt.status,
        error=UNSET if attempt.error is None else attempt.error,
        next_at=UNSET if attempt.next_ms is None else Moment.at_ms(attempt.next_ms),
    )


def _moment(at_ms: int) -> Moment | UnsetType:
    """Return a time; 0 means that there is none."""
    return Moment.at_ms(at_ms) if at_ms else UNSET
