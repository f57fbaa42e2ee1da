"""The verifier of webhooks in the client."""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from mallard_client import BadWebhook, read_webhook

SECRET, OTHER = "whsec_" + "A" * 44, "whsec_" + "B" * 44
BODY = (
    b'{"id":"evt_p.1-0","sequence":1,"type":"job.created","occurred_at":"2026-01-01T00:00:00Z",'
    b'"recorded_at":"2026-01-01T00:00:00Z","market":"p","data":{"id":"job_p.1"},"version":1,'
    b'"job":"job_p.1","later":true}'
)


def headers(body: bytes = BODY, secret: str = SECRET, age_s: int = 0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=age_s)
    return {
        "Webhook-Id": "evt_p.1-0",
        "Webhook-Timestamp": str(int(at.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("evt_p.1-0", at, body.decode()),
    }


def test_signed_event_is_read() -> None:
    event = read_webhook(BODY, headers(), SECRET)
    assert (event.id, event.type, event.job) == ("evt_p.1-0", "job.created", "job_p.1")
    assert event.data["id"] == "job_p.1"


def test_either_secret_is_valid_while_rotating() -> None:
    assert read_webhook(BODY, headers(secret=OTHER), SECRET, OTHER).id == "evt_p.1-0"
    both = headers() | {
        "Webhook-Signature": f"{headers(secret=OTHER)['Webhook-Signature']} "
        f"{headers()['Webhook-Signature']}"
    }
    assert read_webhook(BODY, both, SECRET).id == "evt_p.1-0"


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (BODY + b" ", {}),
        (BODY, {"Webhook-Id": "evt_p.2-0"}),
        (BODY, {"Webhook-Timestamp": "0"}),
        (BODY, {"Webhook-Timestamp": "soon"}),
        (BODY, {"Webhook-Signature": ""}),
        (BODY, {"Webhook-Signature": "v1"}),
        (BODY, {"Webhook-Signature": "v1,nonsense"}),
        (BODY, {"Webhook-Signature": "v2,AAAA"}),
        (b"\xff", {}),
    ],
)
def test_forged_request_is_refused(body: bytes, changed: dict[str, str]) -> None:
    with pytest.raises(BadWebhook):
        read_webhook(body, headers() | changed, SECRET)


def test_other_secret_old_request_or_no_secret_is_refused() -> None:
    for request, secrets in [
        (headers(), (OTHER,)),
        (headers(age_s=301), (SECRET,)),
        (headers(age_s=-301), (SECRET,)),
        (headers(), ()),
    ]:
        with pytest.raises(BadWebhook):
            read_webhook(BODY, request, *secrets)
    with pytest.raises(BadWebhook):
        read_webhook(BODY, {}, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_A"])
def test_text_that_is_no_secret_raises_an_error_of_its_own(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        read_webhook(BODY, headers(), secret)


def test_signed_body_that_is_no_event_is_refused() -> None:
    with pytest.raises(BadWebhook):
        read_webhook(b"[]", headers(b"[]"), SECRET)
