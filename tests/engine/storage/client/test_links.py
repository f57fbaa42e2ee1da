"""The URLs of a Redis: what each kind names, and where the commands of a cluster go."""

import pytest

from mallard_engine.storage.client.address import Group
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.cluster import ClusterLink
from mallard_engine.storage.client.links import Store
from mallard_engine.storage.client.routing import slot_of, slot_of_key


@pytest.mark.parametrize(
    ("url", "kind", "shown"),
    [
        ("redis://h:7000/2", Link, "h:7000"),
        ("rediss://u:w@h", Link, "h:6379"),
        ("unix:///run/r.sock?db=1", Link, "/run/r.sock"),
        ("redis+sentinel://a,b:7/main", Link,
         "unknown (main of the Sentinels a:26379,b:7)"),
        ("rediss+sentinel://u:w@[::1]:7/main?db=3", Link,
         "unknown (main of the Sentinels [::1]:7)"),
        ("redis+sentinel://a/main?sentinel_password=w&sentinel_username=u", Link,
         "unknown (main of the Sentinels a:26379)"),
        ("redis+cluster://u:w@a:7000,b", ClusterLink, "the cluster of a:7000,b:6379"),
        ("rediss+cluster://a/0?ssl_cert_reqs=none", ClusterLink, "the cluster of a:6379"),
    ],
)  # fmt: skip
async def test_url_names_its_servers_without_secrets(url: str, kind: type, shown: str) -> None:
    store = Store(url)
    assert str(store) == shown
    assert isinstance(store.link(), kind)
    assert isinstance(store.tail(), kind)
    assert store.is_cluster == (kind is ClusterLink)


def test_only_sentinels_are_asked_four_times_a_second() -> None:
    """An idle connection that nothing waits for is pinged least often."""
    alone, group = Store("redis://127.0.0.1"), Store("redis+sentinel://a/main")
    links = [alone.link(), alone.tail(), group.link(), group.tail()]
    assert [link._heartbeat_s for link in links if isinstance(link, Link)] == [0.5, 5.0, 0.25, 0.25]


def test_a_name_is_looked_up_once_a_second() -> None:
    named = Store("redis://h")
    links = [named.link(), named.tail()]
    assert [link._heartbeat_s for link in links if isinstance(link, Link)] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("url", "asks"),
    [
        ("redis://h", True),
        ("rediss://h:7000/2", True),
        ("redis://127.0.0.1", False),
        ("redis://[::1]", False),
        ("redis://localhost", False),
        ("unix:///run/r.sock", False),
    ],
)
def test_only_a_name_may_lead_elsewhere_later(url: str, asks: bool) -> None:
    link = Store(url).link()
    assert isinstance(link, Link)
    assert link.address.asks == asks


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+sentinel://a,b", "name one service"),
        ("redis+sentinel://a/one/two", "name one service"),
        ("redis+sentinel://a/one?sentinel_name=x", "no parameter sentinel_name"),
        ("redis+sentinel://a:port/one", "port"),
        ("redis+sentinel:///one", "not HOST:PORT"),
        ("redis+sentinel://a,/one", "not HOST:PORT"),
        ("redis+cluster://", "not HOST:PORT"),
        ("redis+cluster://a/1", "no databases"),
        ("redis+cluster://a?db=1", "no databases"),
        ("redis+cluster://a:99999", "range"),
        ("redis+magic://a", "not a supported scheme"),
        ("unix+cluster:///a", "not a supported scheme"),
        ("redis://a,b", "a list of hosts needs"),
        ("redis://a/first", "the database is not a number"),
        ("redis://a/1/2", "the database is not a number"),
        ("redis://a:port/1", "a port is not a number"),
        ("redis://a?tiemout=5", "no parameter tiemout"),
        ("unix:///run/r.sock?database=1", "no parameter database"),
        ("redis://a?ssl_ca_certs=ca.pem", "ssl_ca_certs needs TLS: write rediss"),
        ("unix:///run/r#1.sock", "write # as %23"),
        ("rediss://a?ssl_ca_cert=ca.pem", "no parameter ssl_ca_cert"),
        (
            "rediss://a?ssl_ca_certs=/none/ca.pem",
            "TLS with ssl_ca_certs=/none/ca.pem: No such file or directory",
        ),
        ("rediss://a?ssl_cert_reqs=most", "TLS with ssl_cert_reqs=most: "),
        ("rediss://a?ssl_ciphers=none", "TLS with ssl_ciphers=none: "),
        ("rediss://a?ssl_min_version=5", "TLS with ssl_min_version=5: "),
        ("rediss+sentinel://a/one?ssl_certfile=/none/a.pem", "TLS with ssl_certfile=/none/a.pem: "),
        ("rediss+cluster://a?ssl_ca_cert=ca.pem", "no parameter ssl_ca_cert"),
        ("redis+cluster://a?tiemout=5", "no parameter tiemout"),
    ],
)
def test_wrong_url_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Store(url)


@pytest.mark.parametrize("kind", ["redis://{}@h:7", "redis+cluster://{}@h:7"])
@pytest.mark.parametrize("mark", ["/", "?", "#"])
@pytest.mark.parametrize("before", ["se", "12"])
def test_password_with_a_raw_mark_is_refused_and_not_shown(
    kind: str, mark: str, before: str
) -> None:
    """The part before the mark must not be read as the port of another server."""
    with pytest.raises(ValueError) as refusal:
        Store(kind.format(f"user:{before}{mark}cret"))
    assert "cret" not in str(refusal.value)
    assert f"'{before}'" not in str(refusal.value)


def test_password_may_have_commas_and_escaped_marks() -> None:
    for kind in ("redis://{}@h:7", "redis+cluster://{}@h:7", "redis+sentinel://{}@h:7/one"):
        Store(kind.format("user:a,b%2F%3F%23%40"))
    server = Group.parse("redis+cluster://user:a,b%2F%3F%23%40@h:7", port=1).server
    assert (server.username, server.password) == ("user", "a,b/?#@")


def test_user_database_and_tls_are_those_of_the_servers() -> None:
    group = Group.parse(
        "rediss+sentinel://u:w%40@a:1,b:2/main?db=3&ssl_cert_reqs=none&sentinel_password=s",
        port=26379,
        prefix="sentinel_",
    )
    assert group.hosts == (("a", 1), ("b", 2))
    server = group.server.at("c", 4)
    assert (server.host, server.port, server.db) == ("c", 4, 3)
    assert (server.username, server.password) == ("u", "w@")
    assert server.tls is not None
    assert group.options == {"ssl": True, "ssl_cert_reqs": "none"}
    assert group.extra == {"password": "s"}
    assert "w@" not in repr(group)


@pytest.mark.parametrize(
    "command",
    [
        ("GET", "m:{a}:x"),
        (b"EVALSHA", b"sha", 2, "m:{a}:x", "m:{a}:y", b"args"),
        ("EVAL", "return 1", "1", "m:{a}:x"),
        ("XREAD", "COUNT", 5, "BLOCK", 200, "STREAMS", b"m:{a}:x", "0-0"),
        ("XREADGROUP", "GROUP", "g", "c", "COUNT", 5, "STREAMS", "m:{a}:x", ">"),
        ("XGROUP", "CREATE", "m:{a}:x", "g", "0"),
        ("XINFO", "GROUPS", "m:{a}:x"),
        ("SCAN", b"0", "MATCH", "m:{a}:*", "COUNT", 100),
        ("HSET", "m:{a}:x", "f", 1.5),
    ],
)
def test_command_goes_to_the_slot_of_its_key(command: tuple[str | bytes | int | float]) -> None:
    assert slot_of(command) == slot_of_key("m:{a}:other") == slot_of_key(b"{a}")


@pytest.mark.parametrize(
    "command", [("TIME",), (b"SCRIPT", b"LOAD", b"x"), ("SCAN", "0"), ("EVAL", "return 1", 0)]
)
def test_command_without_a_key_has_no_slot(command: tuple[str | bytes | int | float]) -> None:
    assert slot_of(command) is None
