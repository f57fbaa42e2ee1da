"""The limits of clients without a valid token, and their share of the event loop."""

import asyncio

import pytest

from mallard_engine.gateway.limits.client_address import TrustedProxies
from mallard_engine.gateway.limits.connections import Connections, Peer

pytestmark = pytest.mark.finding("A9")


def opened(connections: Connections, host: str) -> Peer:
    peer = connections.open(host, lambda: None)
    assert peer is not None
    return peer


async def turns_of(peer: Peer) -> int:
    """Return how many turns of the loop pass before the peer's input is handled."""
    done: list[str] = []
    peer.run(lambda: done.append("handled"))
    turns = 0
    while not done:
        turns += 1
        await asyncio.sleep(0)
    return turns


async def test_new_connection_of_a_known_address_does_not_wait_for_others() -> None:
    connections = Connections()
    service = opened(connections, "192.0.2.1")
    service.mark_authenticated()
    opened(connections, "192.0.2.9").charge(0.05)
    assert await turns_of(opened(connections, "192.0.2.1")) == 0
    assert await turns_of(opened(connections, "192.0.2.2")) > 10


async def test_clients_of_known_addresses_share_their_part_of_the_loop() -> None:
    connections = Connections()
    opened(connections, "192.0.2.1").mark_authenticated()
    opened(connections, "192.0.2.1").charge(0.05)
    assert await turns_of(opened(connections, "192.0.2.1")) > 10


async def test_address_is_unknown_again_once_its_connections_are_closed() -> None:
    connections = Connections(proxies=TrustedProxies(["198.51.100.0/24"]))
    services = [opened(connections, "192.0.2.1") for _ in range(2)]
    for service in services:
        service.mark_authenticated()
        service.mark_authenticated()
    opened(connections, "192.0.2.9").charge(0.05)
    services[0].close()
    assert await turns_of(opened(connections, "192.0.2.1")) == 0
    services[1].close()
    services[1].close()
    proxy = opened(connections, "198.51.100.1")
    proxy.mark_authenticated()
    proxy.close()
    assert not connections._with_token_by_address
    assert await turns_of(opened(connections, "192.0.2.1")) > 10
