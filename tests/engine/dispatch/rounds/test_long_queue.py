"""Long queues: unservable jobs do not hide others, and services take turns."""

import asyncio
from typing import Any

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import KEYS, MALL, Node
from tests.support import eventually

pytestmark = pytest.mark.finding("A7")

MANY = 50_000
# Small enough that one call does not delay the node's heartbeats.
_IN_ONE_CALL = 1_000
# Copies the queue entries of a job, each copy with its own demand.
_COPY = b"""
local packed = redis.call('HGET', KEYS[2], ARGV[1])
for n = tonumber(ARGV[2]), tonumber(ARGV[3]) do
  local id = ARGV[1] .. 'x' .. n
  redis.call('HSET', KEYS[2], id, packed)
  redis.call('ZADD', KEYS[1], 0, ARGV[4] .. id .. '/' .. ARGV[5] .. n)
  redis.call('ZADD', KEYS[3], ARGV[6], 'retry/' .. ARGV[7] .. '/' .. id)
end
"""


async def queue_unservable(node: Node, count: int = MANY, *, due_in_ms: int = 600_000) -> JobRef:
    """Queue `count` jobs that no vehicle can carry, each with its own demand."""
    ref = await node.submit(requires=("forklift",), priority=9)
    call = node.store.runner.link.call
    (place,) = await call("ZRANGE", KEYS.wait(MALL.id), 0, -1)
    service, order, _, _ = place.decode().split("/", 3)
    keys = (KEYS.wait(MALL.id), KEYS.key("waiting"), KEYS.key("due"))
    due_ms = node.store.now_ms() + due_in_ms
    demand = "1 1.5 forklift-"
    for first in range(1, count + 1, _IN_ONE_CALL):
        last = min(first + _IN_ONE_CALL, count + 1) - 1
        args = (ref.job, first, last, f"{service}/{order}/", demand, due_ms, MALL.id)
        await call("EVAL", _COPY, len(keys), *keys, *args)
    return ref


async def eventually_asked(node: Node, ref: JobRef, driver: str) -> None:
    """Wait with a long timeout: the search takes about a second on an idle machine."""
    await eventually(lambda: driver in node.sink.asked(ref))


async def offers_are_out(node: Node, count: int) -> None:
    await eventually(lambda: len(node.sink.offers) == count)


@pytest.fixture(
    params=[
        "sequential",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("runs", "batch")),
    ]
)
async def any_node(request: pytest.FixtureRequest, make_node: MakeNode) -> Node:
    """A node with each kind of round."""
    changes: dict[str, dict[str, Any]] = {
        "sequential": {},
        "runs": {"preset": "pooled", "max_run_jobs": 3},
        "batch": {"round": "batch", "window_ms": 50},
    }
    return await make_node(**changes[request.param])


async def test_job_behind_50000_others_is_offered(any_node: Node) -> None:
    """As a free driver's, also of another service, and once a busy driver is free again.

    One test, as it takes a second to queue the others.
    """
    await any_node.online("d")
    await queue_unservable(any_node)
    for service in ("shop", "another"):
        ref = await any_node.submit(service=service)
        await eventually_asked(any_node, ref, "d")
        offer = await any_node.offered(ref, "d")
        late = await any_node.submit(service=service)
        await any_node.delivers(offer)
        await eventually_asked(any_node, late, "d")
        await any_node.delivers(await any_node.offered(late, "d"))


async def test_new_driver_finds_its_job_among_50000(any_node: Node) -> None:
    await queue_unservable(any_node, MANY // 2)
    ref = await any_node.submit()
    await any_node.waits(ref)
    await any_node.online("d")
    await eventually_asked(any_node, ref, "d")


async def test_drivers_who_become_free_do_not_keep_others_from_the_end(any_node: Node) -> None:
    await queue_unservable(any_node, 4_000)
    ref = await any_node.submit()
    await any_node.waits(ref)

    async def wake() -> None:
        while True:
            any_node.dispatcher._rounds.wake(MALL.id, driver=True)
            await asyncio.sleep(0.002)

    waking = asyncio.create_task(wake())
    await any_node.online("d")
    await eventually_asked(any_node, ref, "d")
    waking.cancel()


@pytest.mark.parametrize(
    ("need", "vehicle"),
    [
        ({"weight_g": 90_000, "requires": ()}, Vehicle(max_weight_g=10_000)),
        ({"volume_l": 200.0, "requires": ()}, Vehicle(max_volume_l=20)),
    ],
)
async def test_oversized_jobs_do_not_hide_a_smaller_one(
    node: Node, need: dict[str, Any], vehicle: Vehicle
) -> None:
    for _ in range(80):
        await node.submit(priority=9, **need)
    ref = await node.submit()
    await node.waits(ref)
    await node.online("d", vehicle=vehicle)
    await node.offered(ref, "d")


async def test_declined_jobs_do_not_hide_others(make_node: MakeNode) -> None:
    node = await make_node(cooldown_s=0.0)
    await node.online("d")
    for _ in range(70):
        ref = await node.submit(priority=9)
        await node.declines(await node.offered(ref, "d"))
    ref = await node.submit()
    await node.offered(ref, "d")


async def test_many_due_jobs_do_not_delay_a_new_one(node: Node) -> None:
    await node.online("d")
    await queue_unservable(node, 20_000, due_in_ms=0)
    ref = await node.submit()
    await node.offered(ref, "d")


async def test_job_deep_in_the_queue_expires_on_time(node: Node) -> None:
    await queue_unservable(node, 5_000)
    ref = await node.submit(expires_ms=node.store.now_ms() + 1_500)
    await node.is_in(ref, JobState.EXPIRED)


async def test_services_take_turns(node: Node) -> None:
    refs = [await node.submit(service="a") for _ in range(6)]
    refs += [await node.submit(service="b") for _ in range(2)]
    await node.waits(refs[-1])
    for n in range(4):
        await node.online(f"d{n}")
        await offers_are_out(node, n + 1)
    asked = [offer.jobs[0].job for offer in node.sink.offers]
    assert sorted(asked) == sorted(ref.job for ref in (*refs[:2], *refs[6:]))


async def test_priority_outranks_another_service_once_a_cycle(node: Node) -> None:
    refs = [await node.submit(service="a", priority=100) for _ in range(6)]
    refs += [await node.submit(service="b") for _ in range(2)]
    await node.waits(refs[-1])
    for n in range(4):
        await node.online(f"d{n}")
        await offers_are_out(node, n + 1)
    asked = [offer.jobs[0].job for offer in node.sink.offers]
    assert asked == [refs[0].job, refs[6].job, refs[1].job, refs[7].job]


async def test_priority_decides_within_a_service(node: Node) -> None:
    low = await node.submit()
    high = await node.submit(priority=1)
    await node.waits(high)
    await node.online("d")
    await node.offered(high, "d")
    assert node.sink.asked(low) == []


async def test_service_behind_a_hundred_others_is_served(node: Node) -> None:
    refs = [await node.submit(service=f"s{n:03}", requires=("forklift",)) for n in range(130)]
    ref = await node.submit(service="z")
    await node.waits(ref)
    await node.online("d", vehicle=Vehicle())
    await node.offered(ref, "d")
    assert not any(map(node.sink.asked, refs))
