"""Redis URLs that cross the network without a password or TLS."""

import pytest

from mallard_engine.storage.client.exposure import exposure

pytestmark = pytest.mark.finding("A15")


@pytest.mark.parametrize(
    ("url", "missing"),
    [
        ("redis://10.0.0.5:6379/0", "no password and no TLS"),
        ("redis://redis.internal", "no password and no TLS"),
        ("redis://:word@redis.internal", "no TLS"),
        ("redis://user:word@redis.internal", "no TLS"),
        ("redis://user@redis.internal", "no password and no TLS"),
        ("redis://redis.internal?password=word", "no TLS"),
        ("rediss://redis.internal", "no password"),
        ("rediss://:word@redis.internal", None),
        ("redis+sentinel://10.0.0.5:26379,10.0.0.6:26379/main", "no password and no TLS"),
        ("rediss+cluster://:word@10.0.0.5:7000,10.0.0.6:7000", None),
        ("redis+cluster://127.0.0.1:7000,10.0.0.6:7000", "no password and no TLS"),
        ("redis+cluster://127.0.0.1:7000,localhost:7001", None),
        ("redis://[2001:db8::5]:6379", "no password and no TLS"),
        ("redis://127.0.0.1:6379", None),
        ("redis://[::1]:6379", None),
        ("redis://localhost", None),
        ("unix:///run/redis.sock", None),
    ],
)
def test_exposure_names_missing_password_and_tls(url: str, missing: str | None) -> None:
    assert exposure(url) == missing
