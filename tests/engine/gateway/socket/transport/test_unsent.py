"""A peer that acknowledges nothing is noticed; one that reads is not."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from mallard_engine.gateway.socket.transport.unsent import UnsentWatch, has_unsent
from tests.support import eventually

SENT = b"x" * 60_000


@pytest.fixture
async def pair() -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """A transport and its peer, who reads only when the test does."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        peer.connect(server.getsockname())
        peer.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=server.accept()[0]
        )
        yield transport, peer
        transport.abort()
        await asyncio.sleep(0)


def looks_stuck(watch: UnsentWatch, transport: asyncio.Transport, now_s: float) -> bool:
    return watch.is_stuck(transport, now_s, has_unsent=has_unsent(transport))


async def test_peer_that_acknowledges_nothing_is_stuck(
    pair: tuple[asyncio.Transport, socket.socket],
) -> None:
    transport, _ = pair
    watch = UnsentWatch(20.0, 0.0)
    assert not watch.is_due(19.0)
    transport.write(SENT)
    looks_stuck(watch, transport, 20.0)
    assert not watch.is_due(39.0)
    assert watch.is_due(40.0)
    await eventually(lambda: looks_stuck(watch, transport, 40.0))


async def test_peer_that_reads_is_not_stuck(
    pair: tuple[asyncio.Transport, socket.socket],
) -> None:
    transport, peer = pair
    watch = UnsentWatch(20.0, 0.0)
    transport.write(SENT)
    read = 0
    while read < len(SENT):
        assert not looks_stuck(watch, transport, 20.0)
        before = read
        while read == before or (read < len(SENT) and read < before + 20_000):
            read += len(await asyncio.get_running_loop().sock_recv(peer, 65_536))
    await eventually(lambda: not has_unsent(transport))
    assert not looks_stuck(watch, transport, 40.0)
    assert not looks_stuck(watch, transport, 60.0)
