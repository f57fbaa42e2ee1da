"""Two nodes on one Redis: shared jobs and drivers, and takeover from a dead node."""

import asyncio
from unittest.mock import Mock

import pytest

from mallard_engine.core.model import LiveOffer
from mallard_engine.core.policy.override import PolicyOverride
from mallard_engine.ports import JobRef, StoreUnavailable
from mallard_engine.storage.calls.leases import LEASE_MS
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import KEYS, MALL, MARKET, Node, RecordingSink
from tests.support import Standstill, eventually


async def test_job_of_one_node_is_offered_to_a_driver_of_another(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    a, b = await make_node("a"), await make_node("b")
    await a.online("d")
    ref = await b.submit()
    offer = await a.offered(ref, "d")
    assert (await a.accepts(offer)).state is JobState.ASSIGNED


async def test_free_driver_wakes_a_job_of_another_node(
    make_node: MakeNode,
) -> None:
    a, b = await make_node("a"), await make_node("b")
    ref = await b.submit()
    await b.waits(ref)
    await a.online("d")
    await a.offered(ref, "d")


async def test_rounds_of_two_nodes_offer_each_job_once(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    a, b = await make_node("a"), await make_node("b")
    await asyncio.gather(*((a, b)[n % 2].online(f"d{n}", 50 + 10 * n) for n in range(60)))
    refs = await asyncio.gather(*((a, b)[n % 2].submit() for n in range(50)))
    await eventually(lambda: len(sink.offers) >= 50)
    assert sorted(offer.jobs[0].job for offer in sink.offers) == sorted(r.job for r in refs)
    assert len({offer.driver for offer in sink.offers}) == 50


async def test_late_close_does_not_evict_the_newer_session(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    a, b = await make_node("a"), await make_node("b")
    old = await a.online("d")
    await b.hello("d")
    assert [push.epoch for push in sink.pushes_to("d", "replaced")] == [old.epoch + 1]
    a.dispatcher.drivers.socket_closed(MARKET, "d", old.epoch)
    await eventually(lambda: len(a.dispatcher._disconnects) == 0)
    driver = await b.driver("d")
    assert (driver.connected, driver.node) == (True, "b")
    await b.offered(await b.submit(), "d")


# -- a dead node


async def test_drivers_of_a_dead_node_get_no_offers(
    make_node: MakeNode, sink: RecordingSink, standstill: Standstill
) -> None:
    a, b = [await make_node(name, lease_ms=LEASE_MS) for name in "ab"]
    for n in range(3):
        await a.online(f"ghost{n}", 100 + n)
    await b.online("d", 9_000)
    await a.die()
    died_ms = b.store.now_ms()
    await eventually(lambda: _are_disconnected(b, ["ghost0", "ghost1", "ghost2"]))
    assert b.store.now_ms() - died_ms <= 2_200 + standstill.ms
    await b.offered(await b.submit(), "d")
    # No entry of the dead node is left.
    await eventually(lambda: _nodes(b, ["b"]))
    assert await b.store.runner.link.call("EXISTS", KEYS.held("a")) == 0


async def test_unreaped_drivers_of_a_dead_node_get_no_offers(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    a, b = await make_node("a", candidates=2), await make_node("b", candidates=2)
    for n in range(5):
        await a.online(f"ghost{n}", 100 + n)
    await b.online("d", 9_000)
    await b.quiet()
    # The lease is expired, but no node has reaped its drivers yet.
    b.dispatcher._leases._apply_effects = lambda *_: None
    await a.die()
    await b.store.runner.link.call("ZADD", KEYS.key("nodes"), b.store.now_ms() - 1, "a")
    ref = await b.submit()
    await b.offered(ref, "d", attempt=1)
    assert sink.asked(ref) == ["d"]


async def test_other_node_takes_over_jobs_of_a_dead_node(
    make_node: MakeNode, standstill: Standstill
) -> None:
    changes = {"offer_timeout_ms": 400, "offer_ack_timeout_ms": 300}
    a = await make_node("a", lease_ms=LEASE_MS, **changes)
    b = await make_node("b", lease_ms=LEASE_MS)
    await a.online("ghost", 100)
    offered = await a.submit()
    offer = await a.offered(offered, "ghost")
    await a.acknowledges(offer)
    held_back = await a.submit(state=JobState.SCHEDULED, release_in_ms=300)
    # The node dies after it stored a job and before its round.
    a.dispatcher._rounds.at(MALL.id).wake = Mock()  # type: ignore[method-assign]
    queued = await a.submit()
    await a.die()

    for name in ("d1", "d2", "d3"):
        await b.online(name, 500)
    assert {(await _offered_again(b, ref)).mall for ref in (offered, held_back, queued)} == {
        MALL.id
    }
    lapsed = (await b.job(offered)).asked[0]
    assert (lapsed.driver, lapsed.outcome) == ("ghost", "expired")
    assert 0 <= lapsed.at_ms - offer.expires_ms <= 1_000 + standstill.ms
    released = await b.job(held_back)
    assert released.timeline[1].state == JobState.QUEUED
    assert 0 <= released.timeline[1].at_ms - released.release_ms <= 1_000 + standstill.ms


async def test_expired_lease_starts_recovery(make_node: MakeNode) -> None:
    a = await make_node("a")
    await a.online("d")
    assert a.recovered == []
    # A lease that began in the same millisecond as the first looks the same.
    await asyncio.sleep(0.05)
    # Simulate a stopped process that did not renew its lease.
    # Well past: the node's clock may run ahead of the server's.
    await a.store.runner.link.call("ZADD", KEYS.key("nodes"), a.store.now_ms() - 5_000, "a")
    # On a busy machine the lease may expire a second time.
    await eventually(lambda: a.recovered[:1] == [(MARKET, False)])


async def test_late_reaper_does_not_touch_a_live_node(
    make_node: MakeNode,
) -> None:
    a, b = await make_node("a"), await make_node("b")
    await a.online("d")
    await b.online("e")
    # The other node was stopped after it read this node as dead and before it reaped.
    await b.dispatcher._leases.reap(MARKET, "a")
    assert (await a.driver("d")).connected
    await b.dispatcher._leases.reap(MARKET, "b")
    assert await _nodes(b, ["a", "b"])


async def _offered_again(node: Node, ref: JobRef) -> LiveOffer:
    """The job's offer to a driver of the live node."""

    async def out() -> LiveOffer | None:
        for name in ("d1", "d2", "d3"):
            offer = (await node.store.drivers.snapshot(MARKET, name)).offer
            if offer and offer.jobs[0].job == ref.job:
                return offer
        return None

    offer = await eventually(out)
    assert offer is not None
    return offer


async def _are_disconnected(node: Node, drivers: list[str]) -> bool:
    return not any([(await node.driver(name)).connected for name in drivers])


async def _nodes(node: Node, names: list[str]) -> bool:
    found = await node.store.runner.link.call("ZRANGE", KEYS.key("nodes"), 0, -1)
    return sorted(name.decode() for name in found) == names


async def test_unannounced_pause_spreads_through_the_markets_owner(
    make_node: MakeNode,
) -> None:
    nodes = [await make_node("a"), await make_node("b")]

    async def is_shared() -> bool:
        return sum(MARKET in node.dispatcher.share for node in nodes) == 1

    await eventually(is_shared)
    owner, other = sorted(nodes, key=lambda node: MARKET not in node.dispatcher.share)
    # Like an older node, or one that dies before it announces the pause.
    args = {"mall": "", "store": "", "paused": True, "actor": "boss", "reason": ""}
    keys = KEYS.key("pauses")
    await owner.store.runner.transition("pause", KEYS, [keys], args)
    await other.dispatcher._sweeper._follow_controls()
    assert not other.dispatcher.controls.pauses(MARKET)
    await owner.dispatcher._sweeper._follow_controls()
    assert owner.dispatcher.controls.pauses(MARKET)
    await eventually(lambda: other.dispatcher.controls.pauses(MARKET))


async def test_policy_whose_note_failed_is_noted_by_the_next_read(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else calls that change the policy would wait for this node in vain."""
    policies = node.store.policies

    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(policies, "note_applied", away)
        stored, _ = await policies.put(MARKET, PolicyOverride(set={"cooldown_s": 5}), None)
        with pytest.raises(StoreUnavailable):
            await node.dispatcher.controls.refresh(MARKET)
    await node.dispatcher.controls.refresh(MARKET)
    assert node.dispatcher.controls.policy(MARKET) == stored
    assert not await policies.behind(MARKET, stored.version)
