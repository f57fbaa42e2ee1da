"""A node has leases only in markets where it holds drivers."""

from collections.abc import Awaitable, Callable

from mallard_engine.storage.calls.leases import LEASE_MS
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import KEYS, MARKET
from tests.support import eventually


async def test_idle_market_has_no_lease(make_node: MakeNode) -> None:
    node = await make_node("a")

    async def leases() -> list[bytes]:
        found: list[bytes] = await node.store.runner.link.call("ZRANGE", KEYS.key("nodes"), 0, -1)
        return found

    await eventually(_is(leases, []))
    await node.online("d")
    assert await leases() == [b"a"]
    node.dispatcher.drivers.socket_closed(MARKET, "d", 1)
    await eventually(_is(leases, []))


async def test_node_without_drivers_reaps_those_of_a_dead_one(make_node: MakeNode) -> None:
    dying = await make_node("a", lease_ms=LEASE_MS)
    other = await make_node("b", lease_ms=LEASE_MS)
    await dying.online("d")
    await dying.die()

    async def is_out() -> bool:
        return not (await other.driver("d")).connected

    await eventually(is_out)


def _is(read: Callable[[], Awaitable[list[bytes]]], wanted: list[bytes]) -> Callable[[], object]:
    async def holds() -> bool:
        return await read() == wanted

    return holds
