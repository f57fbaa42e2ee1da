"""Measured dwell times of a shop change the ETAs of its next jobs, on every node."""

from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import Step, Wish
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MALL, MARKET, Node
from tests.support import eventually

VISITS = 3
PRIOR_S = 1_800.0


async def eta_after_arrival_s(node: Node, driver: str, store: str = "lego") -> tuple[JobRef, float]:
    """Let the driver accept a new job; return it and its ETA at pickup less the travel time."""
    ref = await node.submit(stores=(store,))
    offer = await node.offered(ref, driver)
    job = await node.accepts(offer)
    shown = await node.job(ref)
    assert shown.eta_pickup_ms is not None
    travel_ms = offer.eta_s * 1000
    return JobRef(job.id, job.mall), (shown.eta_pickup_ms - node.store.now_ms() - travel_ms) / 1000


async def test_dwell_times_move_etas_on_another_node(
    make_node: MakeNode,
) -> None:
    changes = {"dwell_visits": VISITS, "store_dwell_s": PRIOR_S}
    first = await make_node("a", **changes)
    await first.online("ann")
    for _ in range(VISITS):
        ref, eta_s = await eta_after_arrival_s(first, "ann")
        # No change yet: dwell times are read once a minute, and these are too few.
        assert eta_s > PRIOR_S - 60
        steps = (Step.AT_MALL, Step.PICKED_UP, Step.DELIVERED)
        await first.does(ref, "ann", (await first.job(ref)).attempt, *steps)
    await first.wish("ann", Wish.OFFLINE)

    second = await make_node("b", **changes)
    service_time = second.dispatcher._context.service_time(MARKET)
    await eventually(lambda: service_time(MALL.id, "lego") < PRIOR_S)
    await second.online("bob")
    _, eta_s = await eta_after_arrival_s(second, "bob")
    # The measured stays were a few milliseconds.
    assert eta_s < MALL.stores["lego"].walk_s + 60
    text = second.metrics.render().decode()
    assert (
        f'mallard_dwell_seconds{{mall="{MALL.id}",market="{MARKET}",statistic="median"}} 7.5'
        in text
    )


async def test_market_without_learning_keeps_its_service_time(make_node: MakeNode) -> None:
    node = await make_node(dwell_visits=0, store_dwell_s=PRIOR_S)
    await node.online("ann")
    ref, _ = await eta_after_arrival_s(node, "ann")
    await node.does(ref, "ann", (await node.job(ref)).attempt, Step.AT_MALL, Step.PICKED_UP)
    assert await node.store.drivers.dwells(MARKET) == {}
    assert node.dispatcher._context.service_time(MARKET)(MALL.id, "lego") == PRIOR_S
