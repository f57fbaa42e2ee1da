"""Whom to ask next, and where."""

import pytest

from mallard_client.driver.connection import socket_url
from mallard_client.http.server_pool import Servers


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("ws://a:8000", "ws://a:8000"),
        ("wss://a/", "wss://a"),
        ("http://a:8000/", "ws://a:8000"),
        ("https://a", "wss://a"),
    ],
)
def test_either_address_of_an_engine_will_do_for_a_socket(named: str, meant: str) -> None:
    assert socket_url(named) == meant


@pytest.mark.parametrize("named", ["", "a:8000", "ftp://a", "ws://", "ws:a"])
def test_address_that_can_never_work_is_refused_at_once(named: str) -> None:
    with pytest.raises(ValueError, match="not the address of an engine"):
        socket_url(named)


def test_equal_servers_are_asked_in_turn() -> None:
    servers = Servers(["http://a/", "http://b"])
    assert [servers.next() for _ in range(4)] == ["http://a", "http://b", "http://a", "http://b"]


def test_silent_server_is_skipped_and_retried_later() -> None:
    servers = Servers(["a", "b"])
    asked = []
    for _ in range(100):
        asked.append(servers.next())
        servers.note(asked[-1], answered=asked[-1] != "b")
    assert 3 < asked.count("b") < 7


def test_recovered_server_is_used_again() -> None:
    servers = Servers(["a", "b"])
    servers.note("b", answered=False)
    assert [servers.next() for _ in range(3)] == ["a", "a", "a"]
    servers.note("b", answered=True)
    assert sorted(servers.next() for _ in range(2)) == ["a", "b"]


def test_all_servers_are_tried_if_none_answers() -> None:
    servers = Servers(["a", "b"])
    for url in ("a", "b"):
        servers.note(url, answered=False)
    assert {servers.next() for _ in range(3)} == {"a", "b"}
