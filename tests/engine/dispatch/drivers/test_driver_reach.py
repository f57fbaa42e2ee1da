"""Drivers who become free, or come near, wake the malls at which jobs wait, and only these."""

from collections.abc import Sequence

import pytest

from mallard_protocol.lifecycle import Wish
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MARKET, POLICY, Node

FAR_M = 40_000.0


@pytest.fixture
async def node(make_node: MakeNode) -> Node:
    """A node whose retries find no driver within a test."""
    return await make_node(retry_s=600.0)


class Looks:
    """Counts how often a node asks at which malls jobs wait."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._waiting = node.store.jobs.waiting
        monkeypatch.setattr(node.store.jobs, "waiting", self)

    async def __call__(self, market: str, malls: Sequence[str]) -> Sequence[int]:
        self.count += 1
        return await self._waiting(market, malls)


async def test_connect_looks_at_no_queue_while_no_job_waits(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(node, monkeypatch)
    await node.online("ann")
    await node.quiet()
    assert looks.count == 0


async def test_hello_of_a_driver_who_is_offline_looks_at_no_queue(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.waits(await node.submit())
    await node.quiet()
    looks = Looks(node, monkeypatch)
    await node.hello("ann")
    await node.quiet()
    assert looks.count == 0
    await node.wish("ann", Wish.AVAILABLE)
    await node.quiet()
    assert looks.count == 1


async def test_hello_that_frees_a_driver_wakes_waiting_jobs(node: Node) -> None:
    hello = await node.online("ann")
    node.dispatcher.drivers.socket_closed(MARKET, "ann", hello.epoch)
    await node.dispatcher._disconnects.flush()
    ref = await node.submit()
    await node.waits(ref)
    await node.quiet()
    assert (await node.hello("ann")).driver.wish is Wish.AVAILABLE
    await node.offered(ref, "ann")


async def test_second_socket_nearer_to_a_mall_wakes_its_jobs(node: Node) -> None:
    await node.online("ann", north_m=FAR_M)
    ref = await node.submit()
    await node.waits(ref)
    await node.quiet()
    await node.hello("ann")
    await node.offered(ref, "ann")


async def test_decline_of_the_only_job_wakes_the_next_driver(node: Node) -> None:
    await node.online("ann")
    ref = await node.submit()
    offer = await node.offered(ref, "ann")
    await node.online("bob")
    await node.declines(offer)
    await node.offered(ref, "bob")


async def test_hello_during_a_reload_uses_the_new_radius(make_node: MakeNode) -> None:
    node = await make_node(max_radius_m=500.0, initial_radius_m=500.0)
    reach = node.dispatcher._reach
    located = reach.locate(MARKET, [node.fix("ann", 5_000.0)])
    node.dispatcher.reload({MARKET: POLICY}, {}, {})
    reach.connected(MARKET, "ann", 1)
    reach.moved(MARKET, located, ["ok"])
    known = reach._drivers[MARKET, "ann"]
    expected = reach._region_at(MARKET, located[0].fix.lat, located[0].fix.lon).malls
    assert known.malls == expected
    assert known.region is not None
    assert known.region.malls == expected
    reach.disconnected(MARKET, "ann", 1)
