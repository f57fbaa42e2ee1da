"""What a node has confirmed, after a failover that forgot it."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState, Step
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import KEYS, MARKET, Node, RecordingSink
from tests.support import eventually


@dataclass
class Replica:
    """All keys as they were: what is left after a failover."""

    call: Any
    keys: Mapping[bytes, bytes]

    @classmethod
    async def of(cls, node: Node) -> "Replica":
        call = node.store.runner.link.call
        names = await call("KEYS", KEYS.key("*"))
        found = {name: await call("DUMP", name) for name in names}
        return cls(call, {name: value for name, value in found.items() if value is not None})

    async def takes_over(self) -> None:
        """Replace everything by what it has, as one pipeline."""
        newer = [it for it in await self.call("KEYS", KEYS.key("*")) if it not in self.keys]
        await asyncio.gather(
            *(self.call("DEL", name) for name in newer),
            *(self.call("RESTORE", *each, "REPLACE") for each in self._restored()),
        )

    def _restored(self) -> Iterable[tuple[bytes, int, bytes]]:
        return ((name, 0, value) for name, value in self.keys.items())


async def held(node: Node, sink: RecordingSink, driver: str = "d") -> tuple[JobRef, int]:
    """Return a job that a driver has accepted, and its attempt."""
    await node.online(driver)
    ref = await node.submit()
    job = await node.accepts(await node.offered(ref, driver))
    return ref, job.attempt


async def alerts(node: Node) -> list[tuple[str, str]]:
    store = node.store.alerts
    found = await store.read(MARKET, await store.list(MARKET, "open"))
    return [(it.what, it.details["job"]) for it in found]


async def test_forgotten_delivery_is_repeated(node: Node, sink: RecordingSink) -> None:
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    replica = await Replica.of(node)
    await node.does(ref, "d", attempt, Step.DELIVERED)
    await replica.takes_over()
    assert (await node.job(ref)).state is JobState.PICKED_UP
    node.dispatcher.beat_now()
    await node.is_in(ref, JobState.DELIVERED)
    assert not (await node.driver("d")).jobs
    assert await alerts(node) == []


async def test_step_that_is_not_forgotten_is_not_repeated(node: Node, sink: RecordingSink) -> None:
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP)
    replica = await Replica.of(node)
    await node.submit()  # the only thing that is forgotten
    await replica.takes_over()
    node.calls.clear()
    node.dispatcher.beat_now()
    await eventually(lambda: node.recovered)
    assert "progress" not in node.calls


async def test_parcel_of_a_forgotten_accept_stays_with_its_driver(
    node: Node, sink: RecordingSink
) -> None:
    async def recover(market: str, rewound: bool) -> None:
        await node.hello("d")  # as the gateway does

    ref = await node.submit()
    await node.waits(ref)
    replica = await Replica.of(node)
    node.dispatcher.recover = recover
    await node.online("d")
    attempt = (await node.accepts(await node.offered(ref, "d"))).attempt
    await node.does(ref, "d", attempt, Step.PICKED_UP, Step.DELIVERED)
    await replica.takes_over()
    node.dispatcher.beat_now()
    job = await node.is_in(ref, JobState.DELIVERED)
    assert (job.driver, job.attempt > attempt) == ("d", True)
    assert await alerts(node) == [("custody_after_lost_writes", ref.job)]


async def test_forgotten_cancellation_is_repeated(node: Node) -> None:
    ref = await node.submit()
    await node.waits(ref)
    replica = await Replica.of(node)
    await node.dispatcher.orders.cancel(ref, "shop", "", job=await node.job(ref))
    await replica.takes_over()
    node.dispatcher.beat_now()
    await node.is_in(ref, JobState.CANCELLED)


async def test_forgotten_order_is_an_alert_once(node: Node) -> None:
    kept = await node.submit()
    await node.waits(kept)
    replica = await Replica.of(node)
    lost = await node.submit()
    await node.waits(lost)
    await replica.takes_over()
    node.dispatcher.beat_now()
    await eventually(lambda: node.recovered)
    assert await alerts(node) == [("job_lost", lost.job)]
    await replica.takes_over()
    node.dispatcher.beat_now()
    await eventually(lambda: len(node.recovered) > 1)
    assert await alerts(node) == []


async def test_parcel_of_a_forgotten_order_is_an_alert(node: Node, sink: RecordingSink) -> None:
    replica = await Replica.of(node)
    ref, attempt = await held(node, sink)
    await node.does(ref, "d", attempt, Step.PICKED_UP, Step.DELIVERED)
    await replica.takes_over()
    node.dispatcher.beat_now()
    expected = {("job_lost", ref.job), ("unknown_job_held", ref.job)}

    async def are_raised() -> bool:
        return set(await alerts(node)) == expected

    await eventually(are_raised)


@pytest.mark.parametrize("share", [True, False])
async def test_node_without_drivers_tells_of_its_orders(make_node: MakeNode, share: bool) -> None:
    nodes = [await make_node(name) for name in ("a", "b")]
    await eventually(lambda: sum(MARKET in it.dispatcher._leases.share for it in nodes) == 1)
    node = next(it for it in nodes if (MARKET in it.dispatcher._leases.share) is share)
    replica = await Replica.of(node)
    lost = await node.submit()
    await node.waits(lost)
    await replica.takes_over()

    async def is_raised() -> bool:
        return await alerts(node) == [("job_lost", lost.job)]

    await eventually(is_raised)
