"""The calls on endpoints of webhooks, as steps without I/O: methods of both clients."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from mallard_client.http.request import Caller, Steps, path_of
from mallard_protocol.webhooks import (
    Delivery,
    DeliveryList,
    NewWebhook,
    Replay,
    RotatedSecret,
    Webhook,
    WebhookList,
)

_PATH = "/v1/webhooks"


def create_webhook(
    caller: Caller,
    url: str,
    *,
    types: Sequence[str] = (),
    markets: Sequence[str] = (),
    description: str = "",
) -> Steps[NewWebhook]:
    """Have events posted to a URL. Keep the ``secret`` of the answer: it is shown this once.

    Args:
        url: The endpoint.
        types: Only of these types; empty: all but ``job.driver_moved``.
        markets: Only of these markets; empty: all.
        description: For people.
    """
    body = {"url": url, "types": types, "markets": markets, "description": description}
    # A repeated request would create another endpoint.
    return caller.call("POST", _PATH, NewWebhook, body=body, repeatable=False)


def webhooks_page(
    caller: Caller, *, limit: int | None = None, cursor: str | None = None
) -> Steps[WebhookList]:
    """Return a page of your endpoints, the oldest first; operators see all."""
    return caller.call("GET", _PATH, WebhookList, params={"limit": limit, "cursor": cursor})


def webhook(caller: Caller, webhook: str) -> Steps[Webhook]:
    """Return an endpoint."""
    return caller.call("GET", _of(webhook), Webhook)


def change_webhook(
    caller: Caller,
    webhook: str,
    *,
    url: str | None = None,
    types: Sequence[str] | None = None,
    markets: Sequence[str] | None = None,
    description: str | None = None,
    state: Literal["enabled", "disabled"] | None = None,
) -> Steps[Webhook]:
    """Change an endpoint; what is None stays. ``enabled`` ends its disabling."""
    named: dict[str, Any] = {
        "url": url,
        "types": types,
        "markets": markets,
        "description": description,
        "state": state,
    }
    body = {name: value for name, value in named.items() if value is not None}
    return caller.call("PATCH", _of(webhook), Webhook, body=body)


def delete_webhook(caller: Caller, webhook: str) -> Steps[None]:
    """Delete an endpoint and what waits for it."""
    return caller.call("DELETE", _of(webhook), type(None))


def rotate_webhook(caller: Caller, webhook: str) -> Steps[RotatedSecret]:
    """Sign with a new secret; the one before signs as well for 24 h."""
    return caller.call("POST", _of(webhook, "rotate"), RotatedSecret, repeatable=False)


def test_webhook(caller: Caller, webhook: str) -> Steps[Delivery]:
    """Post a ``webhook.test`` event now and return how it went."""
    return caller.call("POST", _of(webhook, "test"), Delivery, longer_s=10)


def replay_webhook(caller: Caller, webhook: str, since: datetime) -> Steps[Replay]:
    """Post events recorded since then again, with the same ids, as far as they are kept."""
    body = {"from": since.isoformat()}
    return caller.call("POST", _of(webhook, "replay"), Replay, body=body)


def webhook_deliveries(
    caller: Caller, webhook: str, *, limit: int | None = None, cursor: str | None = None
) -> Steps[DeliveryList]:
    """Return a page of the last attempts at deliveries, the newest first."""
    params = {"limit": limit, "cursor": cursor}
    return caller.call("GET", _of(webhook, "deliveries"), DeliveryList, params=params)


def _of(*parts: str) -> str:
    return path_of("webhooks", *parts)
