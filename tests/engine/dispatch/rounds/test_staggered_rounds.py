"""Staggered and broadcast rounds: several drivers are asked, and the first accept wins."""

import asyncio

import pytest

from mallard_engine.ports import JobRef, Refused
from mallard_engine.storage.calls.leases import LEASE_MS
from mallard_protocol.codes import ErrorCode
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MARKET, Node, RecordingSink
from tests.support import eventually

QUICK = "staggered 3/0.1"
NEVER = "staggered 3/600"


async def drivers_online(node: Node, count: int = 4) -> None:
    for n in range(count):
        await node.online(f"d{n}", 300 + 200 * n)


async def all_asked(sink: RecordingSink, ref: JobRef, *drivers: str) -> None:
    await eventually(lambda: sink.asked(ref) == list(drivers))


async def three_asked(make_node: MakeNode, sink: RecordingSink) -> tuple[Node, JobRef]:
    """A node, and a job with live offers to three of its drivers."""
    node = await make_node(offer_rungs=(QUICK,))
    await drivers_online(node)
    ref = await node.submit()
    await all_asked(sink, ref, "d0", "d1", "d2")
    return node, ref


async def test_staggered_round_asks_drivers_one_after_another(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    node, ref = await three_asked(make_node, sink)
    assert {offer.attempt for offer in sink.offers} == {1}
    assert len({offer.offer for offer in sink.offers}) == 3
    first, second, third = sink.offers
    assert third.ack_by_ms - second.ack_by_ms >= 100
    assert second.ack_by_ms - first.ack_by_ms >= 100
    winner = sink.offers[1]
    job = await node.accepts(winner)
    assert (job.driver, job.attempt) == ("d1", 1)
    for loser in (first, third):
        assert [p.why for p in sink.pushes_to(loser.driver, "offer_closed")] == ["taken"]
        with pytest.raises(Refused) as refused:
            await node.accepts(loser)
        assert refused.value.code is ErrorCode.OFFER_CLOSED
    assert await node.outcomes(ref) == [
        ("d0", "withdrawn"), ("d2", "withdrawn"), ("d1", "accepted"),
    ]  # fmt: skip
    assert node.metrics.render().decode().count('mallard_offers_total{result="withdrawn"} 2.0') == 1
    # A driver who lost gets the next job.
    other = await node.submit()
    await eventually(lambda: sink.asked(other)[:1] == ["d0"])


async def test_early_accept_ends_a_staggered_round(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    node = await make_node(offer_rungs=(NEVER,))
    await drivers_online(node)
    ref = await node.submit()
    await node.delivers(await node.offered(ref, "d0"))
    assert sink.asked(ref) == ["d0"]
    assert await node.due_ms(f"more/{ref.mall}/{ref.job}") is None


async def test_decline_asks_the_next_driver_at_once(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    """If no offer is live, the next driver of the round is asked at once, at the same attempt."""
    node = await make_node(offer_rungs=(NEVER,))
    await drivers_online(node)
    ref = await node.submit()
    for n in range(3):
        await node.declines(await node.offered(ref, f"d{n}", attempt=1))
    # The round has asked its three drivers: the fourth belongs to the next round.
    await node.accepts(await node.offered(ref, "d3", attempt=2))


async def test_broadcast_asks_all_drivers_in_reach_at_once(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    node = await make_node(offer_rungs=("broadcast",), candidates=4)
    await drivers_online(node, 30)
    ref = await node.submit()
    await eventually(lambda: len(sink.offers) == 30)
    last = sink.offers[-1]
    assert (await node.accepts(last)).driver == last.driver
    closed = [push for push in sink.pushes if push.why == "taken"]
    assert {push.driver for push in closed} == {f"d{n}" for n in range(30)} - {last.driver}
    assert await node.free_drivers() == 29
    assert (await node.job(ref)).attempt == 1


async def test_each_round_uses_its_own_rung(make_node: MakeNode, sink: RecordingSink) -> None:
    node = await make_node(offer_rungs=("sequential", NEVER, "broadcast"))
    await drivers_online(node, 5)
    ref = await node.submit()
    await node.declines(await node.offered(ref, "d0", attempt=1))
    await node.offered(ref, "d1", attempt=2)
    assert sink.asked(ref) == ["d0", "d1"]
    await node.dispatcher.drivers.suspend(MARKET, "d1", "")
    await node.declines(await node.offered(ref, "d2", attempt=2))
    await node.declines(await node.offered(ref, "d3", attempt=2))
    await node.offered(ref, "d4", attempt=3)


async def test_concurrent_accepts_have_one_winner(make_node: MakeNode, sink: RecordingSink) -> None:
    a = await make_node("a", offer_rungs=("broadcast",))
    b = await make_node("b", offer_rungs=("broadcast",))
    for n in range(8):
        await (a, b)[n % 2].online(f"d{n}", 300 + 10 * n)
    for _ in range(5):
        sink.pushes.clear()
        ref = await a.submit()
        await eventually(lambda: len(sink.offers) == 8)
        answers = await asyncio.gather(
            *((a, b)[n % 2].accepts(offer) for n, offer in enumerate(sink.offers)),
            return_exceptions=True,
        )
        (winner,) = [job for job in answers if not isinstance(job, BaseException)]
        assert winner.state is JobState.ASSIGNED
        assert {error.code for error in answers if isinstance(error, Refused)} == {
            ErrorCode.OFFER_CLOSED
        }
        assert len([push for push in sink.pushes if push.why == "taken"]) == 7
        await a.dispatcher.orders.cancel(ref, "shop", "")
        await eventually(lambda: _free(a, 8))


async def _free(node: Node, count: int) -> bool:
    return await node.free_drivers() == count


async def test_other_node_continues_the_round_of_a_dead_node(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    a = await make_node("a", lease_ms=LEASE_MS, offer_rungs=("staggered 3/0.4",))
    b = await make_node("b", lease_ms=LEASE_MS, offer_rungs=("staggered 3/0.4",))
    await drivers_online(b)
    ref = await a.submit()
    await b.offered(ref, "d0", attempt=1)
    await a.die()
    await b.offered(ref, "d1", attempt=1)
    await b.accepts(await b.offered(ref, "d2", attempt=1))
    assert sink.asked(ref) == ["d0", "d1", "d2"]


async def test_decline_or_suspension_keeps_the_other_offers(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    node, ref = await three_asked(make_node, sink)
    await node.dispatcher.offers.decline(MARKET, "d1", sink.offers[1].offer, "offline")
    await node.dispatcher.drivers.suspend(MARKET, "d2", "")
    assert (await node.job(ref)).state is JobState.OFFERED
    await node.accepts(sink.offers[0])
