"""Reassignment: a silent or stuck holder loses its job only to a driver who arrives earlier."""

from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MARKET, Node
from tests.support import eventually

# Reassignment starts after 0.2 s of silence; the contract's limit is never reached in a test.
SILENCE = {"break_after_s": 0.2, "resume_ttl_s": 60.0, "offer_timeout_ms": 2_000}


async def goes_silent(node: Node, driver: str, epoch: int) -> None:
    node.dispatcher.drivers.socket_closed(MARKET, driver, epoch)

    async def is_away() -> bool:
        return not (await node.driver(driver)).connected

    await eventually(is_away)


async def test_driver_who_arrives_earlier_gets_the_job(make_node: MakeNode) -> None:
    node = await make_node(**SILENCE)
    hello = await node.online("far", 12_000)
    ref = await node.submit()
    job = await node.accepts(await node.offered(ref, "far"))
    await node.online("near", 400)
    await goes_silent(node, "far", hello.epoch)
    offer = await node.offered(ref, "near", attempt=job.attempt + 2)
    assert await node.outcomes(ref) == [("far", "accepted"), ("far", "silent")]
    record = await node.store.offers.last_round(ref.job)
    assert record is not None
    assert (record.round, [each.driver for each in record.candidates]) == (offer.attempt, ["near"])
    assert (await node.accepts(offer)).driver == "near"


async def test_job_stays_with_a_holder_near_the_mall(make_node: MakeNode) -> None:
    node = await make_node(**SILENCE)
    hello = await node.online("holder", 400)
    ref = await node.submit()
    await node.accepts(await node.offered(ref, "holder"))
    await node.online("other", 900)
    await goes_silent(node, "holder", hello.epoch)
    node.calls.clear()
    await eventually(lambda: "candidates" in node.calls)
    await node.quiet()
    assert (await node.job(ref)).driver == "holder"
    assert "hand_over" not in node.calls


async def test_only_the_resume_limit_counts_without_reassignment(make_node: MakeNode) -> None:
    node = await make_node(resume_ttl_s=0.5)
    hello = await node.online("far", 12_000)
    ref = await node.submit()
    await node.accepts(await node.offered(ref, "far"))
    await node.online("near", 400)
    await goes_silent(node, "far", hello.epoch)
    await node.offered(ref, "near")
    assert "hand_over" not in node.calls
    assert (await node.job(ref)).state is JobState.OFFERED


STUCK = {"stuck_after_s": 1.0, "offer_timeout_ms": 2_000}


async def reports_from(node: Node, north_m: float, call: str, count: int = 1) -> None:
    """Report the position of "far" until the script has been called `count` times."""

    async def seen() -> bool:
        await node.moves("far", north_m)
        return node.calls.count(call) >= count

    await eventually(seen)


async def on_its_way(node: Node, *others: float) -> JobRef:
    """Let "far" hold a job, 12 km away; the others are free, at these distances in metres."""
    await node.online("far", 12_000)
    ref = await node.submit()
    await node.accepts(await node.offered(ref, "far"))
    for n, north_m in enumerate(others):
        await node.online(f"other{n}", north_m)
    node.calls.clear()
    return ref


async def test_stuck_holder_loses_the_job_to_an_earlier_driver(
    make_node: MakeNode,
) -> None:
    node = await make_node(**STUCK)
    ref = await on_its_way(node, 400)
    await reports_from(node, 12_000, "hand_over")
    offer = await node.offered(ref, "other0", attempt=3)
    assert await node.outcomes(ref) == [("far", "accepted"), ("far", "unassigned")]
    assert (await node.driver("far")).jobs == ()
    assert (await node.accepts(offer)).driver == "other0"


async def test_approaching_holder_keeps_its_job(make_node: MakeNode) -> None:
    node = await make_node(**STUCK)
    ref = await on_its_way(node, 400)
    await reports_from(node, 9_000, "silence", 2)
    await node.quiet()
    assert (await node.job(ref)).driver == "far"
    assert "candidates" not in node.calls


async def test_stuck_holder_keeps_its_job_without_an_earlier_driver(make_node: MakeNode) -> None:
    node = await make_node(**STUCK)
    ref = await on_its_way(node, 14_000)
    await reports_from(node, 12_000, "candidates", 2)
    await node.quiet()
    assert (await node.job(ref)).driver == "far"
    assert "hand_over" not in node.calls
