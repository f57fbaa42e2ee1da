"""What a node remembers ends with what it is about."""

from mallard_protocol.lifecycle import Step
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MARKET, Node
from tests.support import eventually


def remembered(node: Node) -> dict[str, int]:
    parts = node.dispatcher
    return {
        "rounds": len(parts._rounds),
        "reach": len(parts._reach),
        "disconnects": len(parts._disconnects),
        "tasks": len(parts._tasks),
        "woken": len(parts._rounds._freed),
        "sweeping": len(parts._sweeper._sweeping),
    }


async def test_after_a_day_of_work_nothing_is_left(make_node: MakeNode) -> None:
    node = await make_node(retry_s=0.1)
    hellos = {name: await node.online(name, 300) for name in ("d1", "d2", "d3")}
    await node.moves("d1", 310)
    for _ in range(5):
        ref = await node.submit()
        await eventually(lambda: node.sink.asked(ref))  # noqa: B023
        offer = node.sink.offers[-1]
        job = await node.accepts(offer)
        await node.does(ref, offer.driver, job.attempt, Step.PICKED_UP, Step.DELIVERED)
    # One that nobody can take and that is taken back, one that expires.
    hopeless = await node.submit(requires=("crane",))
    await node.submit(requires=("crane",), expires_in_ms=300)
    assert remembered(node)["reach"] == 3
    await eventually(lambda: remembered(node)["rounds"] == 2)
    await eventually(lambda: remembered(node)["rounds"] == 1)
    await node.dispatcher.orders.cancel(hopeless, "shop", "")
    # The next round finds that nobody waits any more.
    await node.moves("d1", 320)
    node.dispatcher._rounds.wake(hopeless.mall)
    for name, hello in hellos.items():
        node.dispatcher.drivers.socket_closed(MARKET, name, hello.epoch)
    await eventually(lambda: not any(remembered(node).values()))


async def test_a_late_close_keeps_the_newer_socket_in_mind(node: Node) -> None:
    old = await node.online("d")
    new = await node.hello("d")
    node.dispatcher.drivers.socket_closed(MARKET, "d", old.epoch)
    assert remembered(node)["reach"] == 1
    node.dispatcher.drivers.socket_closed(MARKET, "d", new.epoch)
    assert remembered(node)["reach"] == 0


async def test_fixes_of_a_driver_without_a_socket_here_are_not_kept(node: Node) -> None:
    hello = await node.online("d")
    node.dispatcher.drivers.socket_closed(MARKET, "d", hello.epoch)
    assert await node.moves("d", 500) == "ok"
    assert await node.moves("nobody", 500) == "unknown"
    assert remembered(node)["reach"] == 0


async def test_what_is_remembered_of_a_long_queue_is_bounded(make_node: MakeNode) -> None:
    node = await make_node()
    for _ in range(70):
        await node.submit(requires=("crane",))
    refs = [await node.submit(requires=("crane",)) for _ in range(10)]
    await node.waits(refs[-1])
    # The first of the queue, and of those behind them the ones that came last.
    assert 64 <= remembered(node)["rounds"] <= 80
