"""A batch waits for a driver whose block begins soon, but not after its announced start."""

from typing import Any

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.dispatch.drivers.upcoming_drivers import Block
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MALL, Node
from tests.support import eventually

HOUR_MS = 3_600_000


async def batching(make_node: MakeNode, **changes: Any) -> Node:
    return await make_node(round="batch", window_ms=50, **changes)


def block(node: Node, name: str, in_ms: int) -> Block:
    on_ms = node.store.now_ms() + in_ms
    return Block(name, MALL.lat, MALL.lon, on_ms, on_ms + HOUR_MS)


async def test_job_waits_for_a_driver_whose_block_begins_soon(make_node: MakeNode) -> None:
    node = await batching(make_node)
    node.dispatcher.drivers.expect_blocks("phoenix", [block(node, "early bird", 60_000)])
    await node.online("far", 9_000)
    ref = await node.submit()
    await node.waits(ref)
    assert node.sink.offers == []
    await node.online("early bird", 100)
    await node.offered(ref, "early bird")


async def test_driver_absent_from_its_block_is_not_waited_for(make_node: MakeNode) -> None:
    node = await batching(make_node, retry_s=0.2)
    node.dispatcher.drivers.expect_blocks("phoenix", [block(node, "sleeper", 1_500)])
    await node.online("far", 9_000)
    ref = await node.submit()
    await node.is_in(ref, JobState.QUEUED)
    await node.offered(ref, "far")
    assert len(node.dispatcher._rounds.upcoming) == 0


async def test_block_in_the_far_future_is_ignored(make_node: MakeNode) -> None:
    node = await batching(make_node, soon_on_s=10.0)
    assert MarketPolicy().soon_on_s > 60
    node.dispatcher.drivers.expect_blocks("phoenix", [block(node, "later", 60_000)])
    await node.online("far", 9_000)
    ref = await node.submit()
    await eventually(lambda: node.sink.asked(ref))
    assert node.sink.asked(ref) == ["far"]
