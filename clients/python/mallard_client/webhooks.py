"""Verifies and reads what the engine posts to an endpoint of webhooks.

    event = read_webhook(await request.body(), request.headers, secret)

The signature is that of Standard Webhooks, and the package of that project checks it.
"""

from collections.abc import Mapping

import msgspec
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError, WebhookVerificationError

from mallard_client.errors import ClientError
from mallard_protocol.events import Event

__all__ = ["BadWebhook", "read_webhook"]


class BadWebhook(ClientError):
    """This was not posted by the engine, or not within the last five minutes: answer 400."""


def read_webhook(body: bytes, headers: Mapping[str, str], *secrets: str) -> Event:
    """Return the event of a request, if it is signed with one of your secrets.

    Args:
        body: the body as it arrived. JSON that was parsed and encoded again has other bytes.
        headers: the request's headers.
        secrets: the endpoint's secret, ``whsec_…``; while you rotate, the old and the new one.

    Raises:
        BadWebhook: the request is not signed with any of them, is too old, or is no event.
        ValueError: one of `secrets` is no secret.
    """
    try:
        verifiers = [Webhook(secret) for secret in secrets]
    except (EmptyWebhookSecretError, ValueError):
        raise ValueError("a secret of a webhook begins with whsec_") from None
    plain = {name.lower(): value for name, value in headers.items()}
    for verifier in verifiers:
        try:
            verifier.verify(body, plain, json_parse=False)
        except (WebhookVerificationError, ValueError):
            continue
        try:
            return msgspec.json.decode(body, type=Event)
        except msgspec.MsgspecError:
            raise BadWebhook("the body is no event") from None
    raise BadWebhook("the request is not signed with this secret")
