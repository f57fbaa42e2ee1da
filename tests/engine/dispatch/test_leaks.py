"""A node drops its state of jobs and drivers when they end."""

from mallard_protocol.lifecycle import JobState, Step
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MARKET, Node
from tests.support import eventually


def sizes(node: Node) -> dict[str, int]:
    parts = node.dispatcher
    return {
        "rounds": len(parts._rounds),
        "reach": len(parts._reach),
        "disconnects": len(parts._disconnects),
        "tasks": len(parts._tasks),
        "woken": len(parts._rounds._freed),
        "sweeping": len(parts._sweeper._sweeping),
    }


async def test_no_state_is_left_after_jobs_and_drivers_end(make_node: MakeNode) -> None:
    node = await make_node(retry_s=0.1)
    hellos = {name: await node.online(name, 300) for name in ("d1", "d2", "d3")}
    await node.moves("d1", 310)
    for _ in range(5):
        ref = await node.submit()
        await eventually(lambda: node.sink.asked(ref))  # noqa: B023
        offer = node.sink.offers[-1]
        job = await node.accepts(offer)
        await node.does(ref, offer.driver, job.attempt, Step.PICKED_UP, Step.DELIVERED)
    # One unservable job is cancelled, one expires.
    unservable = await node.submit(requires=("crane",))
    expiring = await node.submit(requires=("crane",), expires_in_ms=300)
    assert sizes(node)["reach"] == 3
    await node.is_in(expiring, JobState.EXPIRED)
    await eventually(lambda: sizes(node)["rounds"] == 1)
    await node.dispatcher.orders.cancel(unservable, "shop", "")
    # The next round finds no waiting job.
    await node.moves("d1", 320)
    node.dispatcher._rounds.wake(unservable.mall)
    for name, hello in hellos.items():
        node.dispatcher.drivers.socket_closed(MARKET, name, hello.epoch)
    await eventually(lambda: not any(sizes(node).values()))


async def test_late_close_keeps_the_state_of_the_newer_socket(node: Node) -> None:
    old = await node.online("d")
    new = await node.hello("d")
    node.dispatcher.drivers.socket_closed(MARKET, "d", old.epoch)
    assert sizes(node)["reach"] == 1
    node.dispatcher.drivers.socket_closed(MARKET, "d", new.epoch)
    assert sizes(node)["reach"] == 0


async def test_fixes_without_a_local_socket_leave_no_state(node: Node) -> None:
    hello = await node.online("d")
    node.dispatcher.drivers.socket_closed(MARKET, "d", hello.epoch)
    assert await node.moves("d", 500) == "ok"
    assert await node.moves("nobody", 500) == "unknown"
    assert sizes(node)["reach"] == 0


async def test_state_of_a_long_queue_is_bounded(make_node: MakeNode) -> None:
    node = await make_node()
    for _ in range(70):
        await node.submit(requires=("crane",))
    refs = [await node.submit(requires=("crane",)) for _ in range(10)]
    await node.waits(refs[-1])
    # The head of the queue, and the most recent jobs behind it.
    assert 64 <= sizes(node)["rounds"] <= 80
