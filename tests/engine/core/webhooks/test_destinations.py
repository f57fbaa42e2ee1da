"""Where deliveries may go: URLs of one meaning, and public addresses."""

import ipaddress

import pytest

from mallard_engine.core.webhooks.destinations import (
    BadUrl,
    Destination,
    Destinations,
    address_of,
    is_public,
    read_url,
)

PUBLIC_ONLY = Destinations()

PRIVATE_URLS = [
    # IPv4, in the form that everybody reads
    "https://127.0.0.1/",
    "https://127.255.255.254/",
    "https://0.0.0.0/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://169.254.169.254/latest/meta-data",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.0.0.8/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://192.168.1.1/",
    "https://198.18.0.1/",
    "https://198.51.100.7/",
    "https://203.0.113.7/",
    "https://224.0.0.1/",
    "https://239.255.255.250/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    # IPv4, in forms that some read
    "https://2130706433/",
    "https://017700000001/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://127.0.0.0x1/",
    "https://0177.0.0.01/",
    "https://127.1/",
    "https://127.0.1/",
    "https://1.2.3.4.5/",
    "https://127.0.0.1./",
    "https://0x/",
    # IPv6
    "https://[::]/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b::8.8.8.8]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:0808:0808::1]/",
    "https://[2001::1]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[2001:db8::1]/",
    "https://[2001:20::1]/",
    "https://[3fff::1]/",
    "https://[100::1]/",
    "https://[fc00::1]/",
    "https://[fd12:3456:789a::1]/",
    "https://[fe80::1]/",
    "https://[fe80::1%25eth0]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[5f00::1]/",
    "https://[::1]:443/",
    # who is meant depends on the reader
    "https://example.com@127.0.0.1/",
    "https://127.0.0.1@example.com/",
    "https://user:pass@example.com/",
    "https://@example.com/",
    "https://example.com\\@127.0.0.1/",
    "https://127.0.0.1\\.example.com/",
    "https://example.com#@127.0.0.1/",
    "https://127.0.0.1#.example.com/",
    "https://127.0.0.1%2f.example.com/",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "https://exam ple.com/",
    "https://example.com/\r\nHost: 127.0.0.1",
    "https://example.com/\x00",
    "https:/127.0.0.1/",
    "https:127.0.0.1/",
    "https:///127.0.0.1/",
    "//127.0.0.1/",
    "https://[127.0.0.1]/",
    "https://[::1/",
    "https://[v1.fe80::1]/",
]


@pytest.mark.parametrize("url", PRIVATE_URLS)
def test_private_or_ambiguous_url_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        PUBLIC_ONLY.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "javascript:alert(1)",
        "HTTPS://example.com/",
        "http://example.com/",
        "http://example.com:8080/",
        "https://example.com:80/",
        "https://example.com:22/",
        "https://example.com:444/",
        "https://example.com:1023/",
        "https://example.com:0/",
        "https://example.com:65536/",
        "https://example.com:x/",
        "https://example.com:-443/",
        "https://",
        "https://./",
        "https://-a.example/",
        "https://a-.example/",
        "https://a..example/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 127}example/",
        "https://münchen.example/",
        "https://exa_mple!.com/",
    ],
)
def test_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        PUBLIC_ONLY.check(url)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://example.com/hook?a=1&b=%20", "example.com", 443),
        ("https://example.com", "example.com", 443),
        ("https://Example.COM:443/", "example.com", 443),
        ("https://example.com:1024/", "example.com", 1024),
        ("https://example.com:65535/", "example.com", 65535),
        ("https://xn--mnchen-3ya.example/", "xn--mnchen-3ya.example", 443),
        ("https://a_b.example/", "a_b.example", 443),
        ("https://8.8.8.8/", "8.8.8.8", 443),
        ("https://[2606:4700:4700::1111]:8443/", "2606:4700:4700::1111", 8443),
        ("https://127.0.0.1.example.com/", "127.0.0.1.example.com", 443),
    ],
)
def test_public_url_is_accepted(url: str, host: str, port: int) -> None:
    assert PUBLIC_ONLY.check(url) == Destination("https", host, port)


def test_configured_network_is_admitted_with_http() -> None:
    own = Destinations.of(["10.1.0.0/16", "fd00::/8"])
    for url in ("https://10.1.2.3/", "http://10.1.2.3:8080/", "http://[fd00::1]:8080/"):
        own.check(url)
    for url in (
        "https://10.2.0.1/",
        "http://8.8.8.8:8080/",
        "http://10.1.2.3/",
        "http://10.1.2.3:80/",
        "https://[::ffff:10.1.2.3]/",
        "http://user@10.1.2.3:8080/",
    ):
        with pytest.raises(BadUrl):
            own.check(url)


@pytest.mark.parametrize(
    ("address", "scheme", "good"),
    [
        ("10.1.2.3", "https", True),
        ("10.1.2.3", "http", True),
        ("10.2.2.3", "https", False),
        ("8.8.8.8", "https", True),
        ("8.8.8.8", "http", False),
        ("::ffff:10.1.2.3", "https", False),
    ],
)
def test_resolved_address_is_judged_with_its_scheme(
    address: str, scheme: str, *, good: bool
) -> None:
    own = Destinations.of(["10.1.0.0/16"])
    assert own.admits(ipaddress.ip_address(address), scheme) is good


def test_link_local_address_with_a_zone_is_not_public() -> None:
    assert not is_public(ipaddress.ip_address("2606:4700::1%eth0"))
    assert address_of("example.com") is None


def test_url_is_read_in_one_way() -> None:
    assert read_url("http://10.0.0.1:8080/a?b") == Destination("http", "10.0.0.1", 8080)
