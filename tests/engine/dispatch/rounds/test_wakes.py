"""Changes of drivers that start a round for an unserved job at once.

The job's retry entry is due only in half a minute, so it does not start the round.
"""

from math import cos, radians

import pytest

from mallard_engine.core.model import Vehicle
from mallard_engine.dispatch.rounds import round_scheduler
from mallard_engine.ports import JobRef
from mallard_protocol.lifecycle import JobState, Wish
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import MALL, MARKET, OTHER_MALL, Node, RecordingSink
from tests.support import Standstill, eventually

# How far north of the one mall the distances to both malls are equal.
_NORTH_M, _EAST_M = (
    (OTHER_MALL.lat - MALL.lat) * 111_195,
    (OTHER_MALL.lon - MALL.lon) * 111_195 * cos(radians(MALL.lat)),
)
EQUALLY_FAR_NORTH_M = (_NORTH_M**2 + _EAST_M**2) / (2 * _NORTH_M)


async def waiting_job(node: Node) -> JobRef:
    """A job whose round has found no driver."""
    ref = await node.submit()
    await node.waits(ref)
    return ref


async def test_driver_who_goes_online_wakes_a_job(node: Node) -> None:
    ref = await waiting_job(node)
    await node.online("d")
    await node.offered(ref, "d")


async def test_driver_who_goes_online_at_the_limit_wakes_a_job(node: Node) -> None:
    ref = await waiting_job(node)
    await node.online("d", 19_900)
    await node.offered(ref, "d")


async def test_fresh_position_of_a_stale_driver_wakes_a_job(make_node: MakeNode) -> None:
    node = await make_node(stale_after_s=0.2)
    await node.online("d")
    await eventually(lambda: _no_driver_is_free(node))
    ref = await waiting_job(node)
    await node.moves("d", 990)
    await node.offered(ref, "d")


async def at_other_mall(node: Node) -> JobRef:
    """A job at the other mall, whose round has found no driver."""
    ref = await node.submit(mall=OTHER_MALL.id, stores=(next(iter(OTHER_MALL.stores)),))
    await node.waits(ref)
    return ref


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only one mall have its round at first."""
    monkeypatch.setattr(round_scheduler, "_MALLS_AT_FIRST", 1)


async def _no_driver_is_free(node: Node) -> bool:
    return await node.free_drivers() == 0


async def test_driver_who_finishes_a_job_wakes_another(node: Node) -> None:
    await node.online("d")
    first = await node.offered(await node.submit(), "d")
    ref = await waiting_job(node)
    await node.delivers(first)
    await node.offered(ref, "d")


async def test_driver_whose_job_is_cancelled_wakes_another(node: Node) -> None:
    await node.online("d")
    first = await node.submit()
    await node.accepts(await node.offered(first, "d"))
    ref = await waiting_job(node)
    await node.dispatcher.orders.cancel(first, "shop", "")
    await node.offered(ref, "d")


async def test_end_of_a_cool_down_wakes_a_job(make_node: MakeNode, standstill: Standstill) -> None:
    node = await make_node(cooldown_s=0.6)
    await node.online("d")
    await node.declines(await node.offered(await node.submit(), "d"))
    ref = await waiting_job(node)
    cool_until_ms = (await node.driver("d")).cool_until_ms
    await node.offered(ref, "d")
    late_ms = (await node.job(ref)).updated_ms - cool_until_ms
    assert 0 <= late_ms <= 500 + standstill.ms


async def test_driver_who_moves_into_reach_wakes_a_job(node: Node) -> None:
    await node.online("d", 21_000)
    await node.moves("d", 20_900)
    ref = await waiting_job(node)
    await node.moves("d", 20_500)
    await node.quiet()
    assert (await node.job(ref)).state is JobState.QUEUED
    await node.moves("d", 19_900)
    await node.offered(ref, "d")


async def test_first_fix_in_reach_wakes_a_job(node: Node) -> None:
    await node.online("d", 40_000)
    ref = await waiting_job(node)
    await node.moves("d", 1_000)
    await node.offered(ref, "d")


async def test_resumed_driver_wakes_a_job(node: Node) -> None:
    await node.online("d")
    await node.dispatcher.drivers.suspend(MARKET, "d", "papers")
    ref = await waiting_job(node)
    await node.dispatcher.drivers.resume(MARKET, "d")
    await node.offered(ref, "d")


async def test_end_of_a_pause_wakes_a_job(node: Node) -> None:
    await node.online("d")
    await node.wish("d", Wish.PAUSED)
    ref = await waiting_job(node)
    await node.wish("d", Wish.AVAILABLE)
    await node.offered(ref, "d")


async def test_driver_who_reconnects_wakes_a_job(node: Node) -> None:
    hello = await node.online("d")
    node.dispatcher.drivers.socket_closed(MARKET, "d", hello.epoch)
    await eventually(lambda: _no_driver_is_free(node))
    ref = await waiting_job(node)
    await node.hello("d")
    await node.offered(ref, "d")


async def test_driver_who_reconnects_with_equipment_wakes_a_job(node: Node) -> None:
    await node.online("d")
    ref = await node.submit(requires=("cool_box",))
    await node.waits(ref)
    await node.hello("d", vehicle=Vehicle(equipment=("cool_box",)))
    await node.offered(ref, "d")


async def test_retry_entry_starts_further_rounds(make_node: MakeNode, sink: RecordingSink) -> None:
    node = await make_node(retry_s=0.2)
    ref = await node.submit()
    await eventually(lambda: node.calls.count("retry_later") >= 3)
    assert sink.asked(ref) == []


async def test_only_malls_where_jobs_wait_get_a_round(node: Node) -> None:
    ref = await waiting_job(node)
    await node.quiet()
    await node.online("d", (OTHER_MALL.lat - MALL.lat) * 111_195)
    await node.offered(ref, "d")
    await node.quiet()
    await node.moves("d", 0)
    await node.quiet()
    assert "candidates" not in node.calls


async def test_nearer_of_two_malls_gets_the_driver(node: Node) -> None:
    """Both malls are in reach: the order of wake-ups decides, not the order of names."""
    further = await at_other_mall(node)
    nearer = await waiting_job(node)
    assert OTHER_MALL.id < MALL.id
    # A round that served no job is followed by a pause, during which the other mall would be first.
    await node.quiet()
    await node.online("d", EQUALLY_FAR_NORTH_M - 300)
    await node.offered(nearer, "d")
    assert (await node.job(further)).state is JobState.QUEUED


@pytest.mark.usefixtures("in_turn")
async def test_other_malls_get_no_round_after_the_driver_is_assigned(
    node: Node,
) -> None:
    await at_other_mall(node)
    nearer = await waiting_job(node)
    await node.quiet()
    other = node.dispatcher._rounds.at(OTHER_MALL.id)
    assert other.pause()
    await node.online("d", EQUALLY_FAR_NORTH_M - 300)
    await node.offered(nearer, "d")
    await node.quiet()
    assert not other._again
    other.resume()


@pytest.mark.usefixtures("in_turn")
async def test_driver_unfit_for_the_first_mall_serves_the_next(node: Node) -> None:
    further = await at_other_mall(node)
    await node.waits(await node.submit(requires=("crane",)))
    await node.online("d", EQUALLY_FAR_NORTH_M - 300)
    await node.offered(further, "d")


@pytest.mark.usefixtures("in_turn")
async def test_long_round_does_not_block_other_malls(
    node: Node,
) -> None:
    further = await at_other_mall(node)
    await waiting_job(node)
    await node.quiet()
    slow = node.dispatcher._rounds.at(MALL.id)
    assert slow.pause()
    await node.online("d", EQUALLY_FAR_NORTH_M - 300)
    await node.offered(further, "d")
    slow.resume()
