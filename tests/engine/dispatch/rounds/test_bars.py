"""A driver who is barred from a job for a while: the job goes to it again when the bar ends."""

from typing import Any

import pytest

from mallard_engine.ports import JobRef
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import Node
from tests.support import eventually

BAR_S = 1.0
# Nothing else wakes the round in a test's time: the retry comes long after the bar.
BARS = {"declined_s": BAR_S, "lapsed_s": BAR_S, "cooldown_s": 0.1, "retry_s": 600.0}


@pytest.fixture(params=[{"round": "instant"}, {"round": "batch", "window_ms": 50}])
def rules(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The policy of one kind of rounds."""
    return {**BARS, **request.param}


async def first_offer(node: Node) -> JobRef:
    """Submit a job, and wait until "d1" has an offer of it."""
    ref = await node.submit()
    await eventually(lambda: node.sink.asked(ref) == ["d1"])
    return ref


async def barred_ms(node: Node, ref: JobRef) -> int:
    """Wait until "d1" has a second offer of the job; return how long after its first turn."""
    await eventually(lambda: node.sink.asked(ref)[:2] == ["d1", "d1"])
    job = await node.job(ref)
    return job.updated_ms - job.asked[0].at_ms


async def test_declined_job_comes_again_when_the_bar_ends(
    make_node: MakeNode, rules: dict[str, Any]
) -> None:
    node = await make_node(**rules)
    await node.online("d1", 300)
    ref = await first_offer(node)
    await node.declines(node.sink.offers[0])
    assert await barred_ms(node, ref) >= BAR_S * 1000


async def test_lapsed_job_comes_again_when_the_bar_ends(
    make_node: MakeNode, rules: dict[str, Any]
) -> None:
    node = await make_node(**rules, offer_timeout_ms=400)
    await node.online("d1", 300)
    ref = await first_offer(node)
    await node.acknowledges(node.sink.offers[0])
    assert await barred_ms(node, ref) >= BAR_S * 1000


async def test_bar_ends_while_another_job_waits_for_its_retry(
    make_node: MakeNode, rules: dict[str, Any]
) -> None:
    node = await make_node(**rules)
    await node.online("d1", 300)
    await node.waits(await node.submit(weight_g=10_000_000))  # nobody can carry it
    ref = await first_offer(node)
    await node.declines(node.sink.offers[0])
    assert await barred_ms(node, ref) >= BAR_S * 1000
