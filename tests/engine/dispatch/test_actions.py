"""Commands of operators, services and drivers, and their effects on other jobs and drivers."""

import pytest

from mallard_engine.ports import (
    DriverUnavailable,
    NoSuchDriver,
    NoSuchJob,
    Offered,
    OfferPlan,
    Refused,
    WrongState,
)
from mallard_protocol.lifecycle import DriverState, JobState, Step, Wish
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import HOUR_MS, MARKET, Node, RecordingSink
from tests.support import eventually


async def test_job_of_a_suspended_driver_is_offered_to_the_next(
    node: Node, sink: RecordingSink
) -> None:
    await node.online("d1", 300)
    await node.online("d2", 900)
    ref = await node.submit()
    offer = await node.offered(ref, "d1")
    suspended = await node.dispatcher.drivers.suspend(MARKET, "d1", "papers")
    assert suspended.driver.suspended
    assert suspended.driver.offer is None
    await node.offered(ref, "d2", attempt=2)
    assert await node.outcomes(ref) == [("d1", "withdrawn")]
    assert [(p.offer_id, p.why) for p in sink.pushes_to("d1", "offer_closed")] == [
        (offer.offer, "withdrawn")
    ]
    with pytest.raises(Refused, match="offer_closed"):
        await node.accepts(offer)


async def test_suspended_driver_leaves_matching(node: Node) -> None:
    await node.online("d")
    assert (await node.dispatcher.drivers.suspend(MARKET, "d", "papers")).driver.suspended
    await node.waits(await node.submit())
    with pytest.raises(NoSuchDriver):
        await node.dispatcher.drivers.suspend(MARKET, "nobody", "papers")


async def test_going_offline_declines_a_live_offer(node: Node, sink: RecordingSink) -> None:
    await node.online("d1", 300)
    await node.online("d2", 900)
    ref = await node.submit()
    await node.offered(ref, "d1")
    driver = await node.wish("d1", Wish.OFFLINE)
    assert driver.shown is DriverState.OFFLINE
    await node.offered(ref, "d2")
    assert await node.outcomes(ref) == [("d1", "declined")]


async def test_going_offline_while_the_offer_expires_works(
    make_node: MakeNode,
) -> None:
    node = await make_node(offer_timeout_ms=100, offer_ack_timeout_ms=100)
    await node.online("d")
    # Without the sweeper, the offer expires but is not ended.
    node.dispatcher._sweeper.schedule = lambda *_: None  # type: ignore[method-assign]
    await node.dispatcher._sweeper._tasks.stop()
    ref = await node.submit()
    offer = await node.offered(ref, "d")
    await eventually(lambda: node.store.now_ms() > offer.expires_ms)
    assert (await node.wish("d", Wish.OFFLINE)).wish is Wish.OFFLINE
    assert (await node.job(ref)).state is JobState.QUEUED
    assert (await node.driver("d")).offer is None


async def test_driver_with_a_job_cannot_go_offline(node: Node) -> None:
    await node.online("d")
    await node.accepts(await node.offered(await node.submit(), "d"))
    with pytest.raises(Refused, match="holds_jobs"):
        await node.wish("d", Wish.OFFLINE)


async def test_cancel_of_an_offered_job_frees_its_driver(node: Node, sink: RecordingSink) -> None:
    await node.online("d")
    ref = await node.submit()
    await node.offered(ref, "d")
    other = await node.submit()
    await node.waits(other)
    await node.dispatcher.orders.cancel(ref, "shop", "changed its mind")
    await node.offered(other, "d")
    assert [p.why for p in sink.pushes_to("d", "offer_closed")] == ["cancelled"]
    await node.dispatcher.orders.cancel(ref, "shop", "again")
    job = await node.job(ref)
    assert (job.state, job.reason) == (JobState.CANCELLED, "changed its mind")


async def test_assignment_revokes_the_present_holder(node: Node, sink: RecordingSink) -> None:
    for n in (1, 2, 3):
        await node.online(f"d{n}", 300 * n)
    ref = await node.submit()
    await node.offered(ref, "d1", attempt=1)
    await node.dispatcher.orders.assign(ref, "d3", "boss")
    job = await node.job(ref)
    assert (job.state, job.driver, job.attempt) == (JobState.ASSIGNED, "d3", 2)
    assert [p.why for p in sink.pushes_to("d1", "offer_closed")] == ["withdrawn"]
    assert [p.reason for p in sink.pushes_to("d3", "job")] == ["assigned"]
    await node.dispatcher.orders.assign(ref, "d2", "boss")
    job = await node.job(ref)
    assert (job.driver, job.attempt) == ("d2", 3)
    assert [p.reason for p in sink.pushes_to("d3", "job")] == ["assigned", "unassigned"]
    # The drivers who lost the job may get other offers.
    await node.offered(await node.submit(), "d1")
    await node.offered(await node.submit(), "d3")


async def test_assignment_to_an_unavailable_driver_is_refused(node: Node) -> None:
    await node.online("busy")
    await node.offered(await node.submit(), "busy")
    ref = await node.submit()
    with pytest.raises(DriverUnavailable):
        await node.dispatcher.orders.assign(ref, "busy", "boss")
    with pytest.raises(NoSuchDriver):
        await node.dispatcher.orders.assign(ref, "nobody", "boss")


async def test_unassigned_job_is_offered_to_the_next_driver(
    node: Node, sink: RecordingSink
) -> None:
    await node.online("d1", 300)
    await node.online("d2", 900)
    ref = await node.submit()
    job = await node.accepts(await node.offered(ref, "d1"))
    with pytest.raises(Refused, match="stale_attempt"):
        await node.dispatcher.orders.unassign(ref, job.attempt + 1, "boss", "late")
    await node.dispatcher.orders.unassign(ref, job.attempt, "boss", "late")
    await node.offered(ref, "d2", attempt=job.attempt + 2)
    assert await node.outcomes(ref) == [("d1", "accepted"), ("d1", "unassigned")]
    assert [p.reason for p in sink.pushes_to("d1", "job")] == ["unassigned"]


async def test_close_of_a_job_on_board_frees_its_driver(node: Node, sink: RecordingSink) -> None:
    await node.online("d")
    ref = await node.submit()
    job = await node.accepts(await node.offered(ref, "d"))
    with pytest.raises(WrongState):
        await node.dispatcher.orders.close(ref, JobState.LOST, "boss", "gone")
    await node.does(ref, "d", job.attempt, Step.PICKED_UP)
    other = await node.submit()
    await node.waits(other)
    await node.dispatcher.orders.close(ref, JobState.LOST, "boss", "gone")
    assert (await node.job(ref)).state is JobState.LOST
    assert [p.reason for p in sink.pushes_to("d", "job")] == ["closed"]
    await node.offered(other, "d")


async def test_custody_withdraws_a_live_offer(node: Node, sink: RecordingSink) -> None:
    await node.online("d1", 300)
    await node.online("d2", 900)
    ref = await node.submit()
    job = await node.accepts(await node.offered(ref, "d1"))
    await node.dispatcher.orders.unassign(ref, job.attempt, "boss", "silent")
    await node.offered(ref, "d2")
    other = await node.submit(requires=("crane",))
    await node.waits(other)
    await node.does(ref, "d1", job.attempt, Step.PICKED_UP)
    held = await node.job(ref)
    assert (held.state, held.driver) == (JobState.PICKED_UP, "d1")
    assert [p.why for p in sink.pushes_to("d2", "offer_closed")] == ["collected"]


async def test_offer_to_a_driver_with_custody_moves_on(node: Node, sink: RecordingSink) -> None:
    await node.online("d1", 300)
    taken = await node.submit()
    job = await node.accepts(await node.offered(taken, "d1"))
    await node.dispatcher.orders.unassign(taken, job.attempt, "boss", "silent")
    other = await node.submit()
    await node.offered(other, "d1")
    await node.online("d2", 900)
    await node.does(taken, "d1", job.attempt, Step.PICKED_UP)
    assert [p.why for p in sink.pushes_to("d1", "offer_closed")] == ["withdrawn"]
    await node.offered(other, "d2")


async def test_unknown_ids_are_refused(node: Node) -> None:
    ref = await node.submit(ready_ms=node.store.now_ms() + HOUR_MS)
    nothing = type(ref)("job_phoenix.none", ref.mall)
    with pytest.raises(NoSuchJob):
        await node.dispatcher.orders.cancel(nothing, "shop", "")
    with pytest.raises(NoSuchJob):
        await node.dispatcher.orders.assign(nothing, "d", "boss")
    with pytest.raises(Refused, match="not_yours"):
        await node.dispatcher.offers.accept(MARKET, "d", "offer_none")


async def test_round_takes_the_next_free_driver(node: Node, sink: RecordingSink) -> None:
    """The driver may become unavailable between the ranking and the offer script."""
    await node.online("d1", 300)
    await node.online("d2", 900)
    await node.quiet()
    offer = node.store.offers.make

    async def after_a_pause(plan: OfferPlan) -> Offered:
        await node.wish(plan.drivers[0].driver, Wish.PAUSED)
        return await offer(plan)

    node.store.offers.make = after_a_pause  # type: ignore[method-assign]
    ref = await node.submit()
    await node.offered(ref, "d2")
    assert sink.asked(ref) == ["d2"]
