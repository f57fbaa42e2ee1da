"""The client address that limits count by, with and without proxies."""

import pytest

from mallard_engine.config.settings import ConfigError, load_settings
from mallard_engine.gateway.limits.client_address import TrustedProxies, address_key

PROXIES = TrustedProxies(["10.0.0.0/8", "2001:db8:ffff::/48"])


def client(peer: str, *forwarded: bytes) -> str:
    return PROXIES.client(peer, [(b"x-forwarded-for", value) for value in forwarded])


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("", ""),
        ("a name", "a name"),
    ],
)
def test_addresses_of_one_client_share_a_key(host: str, key: str) -> None:
    assert address_key(host) == key


@pytest.mark.finding("A4", "A9")
@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", (b"198.51.100.7",), "192.0.2.1"),  # not a proxy: the header is the client's
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", (b"198.51.100.7",), "198.51.100.7"),
        ("10.0.0.1", (b"1.2.3.4, 198.51.100.7",), "198.51.100.7"),  # 1.2.3.4 is made up
        ("10.0.0.1", (b"1.2.3.4", b"198.51.100.7, 10.9.9.9"), "198.51.100.7"),
        ("10.0.0.1", (b"10.1.1.1, 10.2.2.2",), "10.1.1.1"),
        ("10.0.0.1", (b"198.51.100.7:4711",), "198.51.100.7"),
        ("::ffff:10.0.0.1", (b"[2001:db8:1::9]:80",), "2001:db8:1::/64"),
        ("2001:db8:ffff::1", (b"2001:db8:1::9",), "2001:db8:1::/64"),
        ("10.0.0.1", (b"nonsense",), "10.0.0.1"),
        ("10.0.0.1", (b"198.51.100.7, unknown",), "10.0.0.1"),
        ("10.0.0.1", (b"",), "10.0.0.1"),
        ("10.0.0.1", (b",".join([b"10.1.1.1"] * 5000),), "10.1.1.1"),
        ("", (b"198.51.100.7",), ""),
    ],
)
def test_forwarded_for_is_trusted_from_proxies_only(
    peer: str, forwarded: tuple[bytes, ...], expected: str
) -> None:
    assert client(peer, *forwarded) == expected


def test_client_address_is_read_from_the_scope() -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.7")]
    assert PROXIES.client_of({"client": ("10.0.0.1", 1), "headers": headers}) == "198.51.100.7"
    assert PROXIES.client_of({"client": None, "headers": headers}) == ""


def test_invalid_trusted_proxies_are_refused() -> None:
    settings = load_settings({}, {"MALLARD_TRUSTED_PROXIES": "10.0.0.0/8, ::1"})
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    with pytest.raises(ConfigError, match=r"MALLARD_TRUSTED_PROXIES: .*'my-proxy'"):
        load_settings({}, {"MALLARD_TRUSTED_PROXIES": "my-proxy"})
