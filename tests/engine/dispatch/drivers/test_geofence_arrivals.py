"""Arrival by geofence: a holder whose position is at the mall arrives."""

from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.worlds import MARKET, Node, RecordingSink

S = JobState


async def on_its_way(node: Node, north_m: float = 1_000.0) -> JobRef:
    """A job that "d" accepted `north_m` from the mall."""
    await node.online("d", north_m)
    ref = await node.submit()
    await node.accepts(await node.offered(ref, "d"))
    return ref


async def test_holder_near_the_mall_arrives(node: Node, sink: RecordingSink) -> None:
    ref = await on_its_way(node)
    await node.moves("d", 940)
    await node.quiet()
    assert (await node.job(ref)).state is S.ASSIGNED
    await node.moves("d", 40)
    await node.is_in(ref, S.AT_MALL)
    assert [(push.state, push.reason) for push in sink.pushes_to("d", "job")] == [
        ("at_mall", "arrived")
    ]
    # Further fixes send no second push.
    await node.moves("d", 30)
    await node.quiet()
    assert len(sink.pushes_to("d", "job")) == 1


async def test_driver_who_accepts_at_the_mall_arrives(node: Node) -> None:
    ref = await on_its_way(node, 20)
    await node.moves("d", 25)
    await node.is_in(ref, S.AT_MALL)


async def test_inaccurate_position_is_no_arrival(node: Node) -> None:
    ref = await on_its_way(node, 60)
    inaccurate = node.fix("d", 0)._replace(acc_m=400.0)
    assert await node.dispatcher.drivers.positions(MARKET, [inaccurate]) == ("ok",)
    await node.quiet()
    assert (await node.job(ref)).state is S.ASSIGNED


async def test_disconnected_drivers_leave_no_state(node: Node) -> None:
    hello = await node.online("d", 20)
    assert len(node.dispatcher.drivers._plans.arrivals) == 1
    node.dispatcher.drivers.socket_closed(MARKET, "d", hello.epoch)
    assert len(node.dispatcher.drivers._plans.arrivals) == 0


async def test_http_reports_arrive_and_leave_no_state(node: Node) -> None:
    ref = await on_its_way(node)
    hello = await node.online("d", 1_000)
    node.dispatcher.drivers.socket_closed(MARKET, "d", hello.epoch)
    await node.moves("d", 40)
    await node.is_in(ref, S.AT_MALL)
    assert len(node.dispatcher.drivers._plans.arrivals) == 0


async def test_driver_passing_the_mall_does_not_arrive(node: Node) -> None:
    ref = await on_its_way(node)
    for north_m in (60, 20, -20, -60):
        passing = node.fix("d", north_m)._replace(speed_mps=15.0)
        assert await node.dispatcher.drivers.positions(MARKET, [passing]) == ("ok",)
    await node.quiet()
    assert (await node.job(ref)).state is S.ASSIGNED


async def test_two_distant_fixes_are_no_departure(node: Node, sink: RecordingSink) -> None:
    ref = await on_its_way(node, 20)
    await node.moves("d", 25)
    await node.is_in(ref, S.AT_MALL)
    for north_m in (600, 620, 20, 600, 620, 30):
        await node.moves("d", north_m)
    await node.quiet()
    assert len(sink.pushes_to("d", "job")) == 1


async def test_driver_who_left_arrives_again(node: Node) -> None:
    await node.online("d", 20)
    for north_m in (600, 620, 640):
        await node.moves("d", north_m)
    assert len(node.dispatcher.drivers._plans.arrivals) == 0
    ref = await node.submit()
    await node.accepts(await node.offered(ref, "d"))
    await node.moves("d", 20)
    await node.is_in(ref, S.AT_MALL)


async def test_job_assigned_by_another_node_at_the_mall_arrives(node: Node) -> None:
    await node.online("d", 20)
    await node.quiet()
    ref = await node.submit()
    # Assigned by another node: this node learns of it only from the push stream.
    await node.store.jobs.assign(ref, "d", "operator")
    await node.moves("d", 25)
    await node.quiet()
    assert (await node.job(ref)).state is S.ASSIGNED
    node.dispatcher.drivers.holds_unknown_job(MARKET, "d")
    await node.moves("d", 20)
    await node.is_in(ref, S.AT_MALL)
