"""A changed order through the dispatcher: the course of its driver, and the next round."""

from dataclasses import replace

import msgspec

from mallard_engine.core.model import Job, Vehicle
from mallard_engine.core.order_change import OrderChange
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState, Step, Wish
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import Node

FAR = {"lat": 33.42, "lon": -111.70}
NEAR = {"lat": 33.312, "lon": -111.895}


async def change(node: Node, ref: JobRef, **needs: float) -> Job:
    """Move the drop-off of a job; return it as it is then."""
    was = await node.job(ref)
    changed = OrderChange(
        fields=("/dropoff/lat", "/dropoff/lon"),
        until=None,
        stores=(),
        body=msgspec.json.encode(msgspec.json.decode(was.body or b"{}") | needs),
        card=was.card,
        need=replace(was.need, **needs),  # type: ignore[arg-type] # all are floats
        release_ms=was.release_ms,
        is_moved=True,
        changes_course=True,
    )
    assert await node.dispatcher.orders.change(ref, was, changed, actor="shop")
    return await node.job(ref)


async def run_of_two(node: Node) -> list[JobRef]:
    """Two jobs that ann has accepted or was given."""
    await node.online("ann", 500, vehicle=Vehicle(max_jobs=3))
    first = await node.submit(lat=33.33, lon=-111.88)
    await node.accepts(await node.offered(first, "ann"))
    await node.wish("ann", Wish.PAUSED)  # so that no round offers it to her
    second = await node.submit(lat=33.34, lon=-111.86)
    await node.dispatcher.orders.assign(second, "ann", "ops")
    return [first, second]


async def etas(node: Node, refs: list[JobRef]) -> list[int]:
    return [(await node.job(ref)).eta_dropoff_ms or 0 for ref in refs]


async def test_order_of_the_run_follows_a_moved_drop_off(make_node: MakeNode) -> None:
    node = await make_node(preset="pooled", max_run_jobs=3)
    refs = await run_of_two(node)
    await change(node, refs[0], **FAR)
    first, second = await etas(node, refs)
    assert 0 < second < first
    await change(node, refs[0], **NEAR)
    first, second = await etas(node, refs)
    assert 0 < first < second
    informed = [push.job for push in node.sink.pushes_to("ann", "job") if push.reason == "updated"]
    assert informed == [refs[0].job, refs[1].job] * 2


async def test_course_on_board_begins_where_the_driver_is(make_node: MakeNode) -> None:
    node = await make_node(preset="pooled", max_run_jobs=3)
    refs = await run_of_two(node)
    for ref in refs:
        await node.does(ref, "ann", (await node.job(ref)).attempt, Step.AT_MALL, Step.PICKED_UP)
    collected_ms = (await node.job(refs[0])).eta_pickup_ms
    moved = await change(node, refs[0], **NEAR)
    assert moved.eta_pickup_ms == collected_ms
    near_ms = moved.eta_dropoff_ms or 0
    far_ms = (await change(node, refs[0], **FAR)).eta_dropoff_ms or 0
    assert node.store.now_ms() < near_ms < far_ms - 600_000


async def test_changed_order_is_offered_again(make_node: MakeNode) -> None:
    node = await make_node()
    await node.online("ann", 500)
    ref = await node.submit()
    first = await node.offered(ref, "ann")
    await change(node, ref, **NEAR)
    again = await node.offered(ref, "ann", attempt=first.attempt + 1)
    assert again.offer != first.offer
    (closed,) = node.sink.pushes_to("ann", "offer_closed")
    assert (closed.offer_id, closed.why) == (first.offer, "withdrawn")
    await node.accepts(again)
    assert (await node.job(ref)).state is JobState.ASSIGNED
