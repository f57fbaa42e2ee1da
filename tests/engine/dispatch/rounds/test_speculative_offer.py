"""Speculative driver search: one round trip less, and no job is overtaken, doubled or lost."""

import asyncio
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from mallard_engine.core.model import Need, Vehicle
from mallard_engine.core.policy import RunCosts
from mallard_engine.ports import DuplicateExternalId, JobRef, Offered, OfferPlan, StoreUnavailable
from mallard_protocol.lifecycle import JobState
from tests.engine.core import makers
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import KEYS, MALL, MARKET, Node

S = JobState
KM_DEG = 1_000 / 111_195


async def with_driver_on_the_way(make_node: MakeNode) -> Node:
    """A node with runs: "d" is on its way to the mall for a job 9 km north of it, "e" is free."""
    node = await make_node(
        preset="pooled",
        max_run_jobs=4,
        run=RunCosts(plan="by_driver", back=1.0),
    )
    await node.online("d", 3_000, vehicle=Vehicle(max_jobs=8))
    first = await node.submit(lat=MALL.lat + 9 * KM_DEG, lon=MALL.lon)
    await node.accepts(await node.offered(first, "d"))
    await node.online("e", 1_000, vehicle=Vehicle(max_jobs=8))
    await node.quiet()
    return node


def to(node: Node, north_km: float) -> Need:
    """What a job to that address needs."""
    return makers.need(node.store.now_ms(), lat=MALL.lat + north_km * KM_DEG, lon=MALL.lon)


async def submit_early(node: Node, **changes: Any) -> JobRef:
    with closing(node.dispatcher.orders.speculate(MALL.id)) as early:
        submission = replace(node.submission(MALL.id, S.QUEUED), **changes)
        submitted = await node.dispatcher.orders.submit(submission, early)
    return JobRef(submitted.job.id, MALL.id)


async def test_offer_is_made_right_after_the_submission(node: Node) -> None:
    await node.online("d")
    await node.quiet()
    node.calls.clear()
    ref = await submit_early(node)
    await node.offered(ref, "d")
    assert [call for call in node.calls if call in {"candidates", "submit", "offer"}] == [
        "candidates",
        "submit",
        "offer",
    ]
    assert (await node.job(ref)).state is S.OFFERED


@pytest.mark.parametrize(("north_km", "driver"), [(7, "d"), (-7, "e")])
async def test_job_that_may_share_a_run_is_offered_right_away(
    make_node: MakeNode, north_km: float, driver: str
) -> None:
    """An add-on for the driver on the way if it pays, or else a job for the free driver."""
    node = await with_driver_on_the_way(make_node)
    ref = await submit_early(node, need=to(node, north_km))
    offer = await node.offered(ref, driver)
    assert offer.add_on == (driver == "d")
    calls = [call for call in node.calls if call in {"candidates", "submit", "offer"}]
    assert calls == ["candidates", "submit", "offer"]
    record = await node.store.offers.last_round(ref.job)
    assert record is not None
    assert record.why == ("add_on" if driver == "d" else "free")


async def test_submission_does_not_wait_for_its_offer(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.online("d")
    offer, may_offer = node.store.offers.make, asyncio.Event()

    async def late(plan: OfferPlan) -> Offered:
        await may_offer.wait()
        return await offer(plan)

    monkeypatch.setattr(node.store.offers, "make", late)
    ref = await submit_early(node)
    assert (await node.job(ref)).state is S.QUEUED
    may_offer.set()
    await node.offered(ref, "d")


async def test_failed_speculative_offer_is_made_by_a_round(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.online("d")
    offer, failed = node.store.offers.make, asyncio.Event()

    async def fails_once(plan: OfferPlan) -> Offered:
        if failed.is_set():
            return await offer(plan)
        failed.set()
        raise StoreUnavailable("unavailable")

    monkeypatch.setattr(node.store.offers, "make", fails_once)
    await node.offered(await submit_early(node), "d")
    assert failed.is_set()


async def test_waiting_job_precedes_a_speculative_offer(make_node: MakeNode) -> None:
    a, b = await make_node("a"), await make_node("b")
    await a.online("d")
    held = a.dispatcher.orders.speculate(MALL.id)
    # The job waits although a driver is free: its node pauses its rounds.
    first = await a.submit()
    second = await submit_early(b)
    await b.offered(first, "d")
    assert (await b.job(second)).state is S.QUEUED
    held.close()


async def test_held_store_prevents_a_speculative_offer(node: Node) -> None:
    await node.online("d")
    held_ms = node.store.now_ms() + 60_000
    key = KEYS.key("holds")
    await node.store.runner.link.call("HSET", key, f"{MALL.id}/lego", held_ms)
    ref = await submit_early(node)
    await node.quiet()
    assert (await node.job(ref)).state is S.QUEUED
    await node.store.runner.link.call("HSET", key, f"{MALL.id}/lego", node.store.now_ms() - 1)
    await submit_early(node)  # another one wakes the mall
    await node.is_in(ref, S.OFFERED)


async def test_search_without_drivers_leaves_the_job_to_a_round(node: Node) -> None:
    ref = await submit_early(node)
    assert (await node.job(ref)).state is S.QUEUED
    await node.online("d")
    await node.offered(ref, "d")


async def test_repeated_submission_makes_one_offer(node: Node) -> None:
    await node.online("d1")
    await node.online("d2")
    first = await submit_early(node, key="once")
    assert await submit_early(node, key="once") == first
    await node.quiet()
    assert len(await node.outcomes(first)) == 0
    counts = await node.store.jobs.counts(MARKET)
    assert (counts["offered"], counts["submitted"]) == (1, 1)


async def test_refused_order_makes_no_offer(node: Node) -> None:
    await node.online("d1")
    await node.online("d2")
    await submit_early(node, external_id="ORD-1")
    with pytest.raises(DuplicateExternalId):
        await submit_early(node, external_id="ORD-1")
    await node.quiet()
    assert (await node.store.jobs.counts(MARKET))["offered"] == 1


async def test_rounds_pause_until_the_search_is_closed(node: Node) -> None:
    await node.online("d")
    early = node.dispatcher.orders.speculate(MALL.id)
    ref = await node.submit()
    assert (await node.job(ref)).state is S.QUEUED
    early.close()
    early.close()
    await node.offered(ref, "d")


async def test_one_of_two_concurrent_searches_proceeds(node: Node) -> None:
    await node.online("d1")
    await node.online("d2")
    jobs = await asyncio.gather(submit_early(node), submit_early(node))
    for job in jobs:
        await node.is_in(job, S.OFFERED)


async def test_unknown_mall_starts_no_search(node: Node) -> None:
    await node.online("d")
    await node.quiet()
    with closing(node.dispatcher.orders.speculate("atlantis")) as early:
        assert not await early.finds(node.submission(MALL.id, S.QUEUED))
        assert not await early.offer()
    assert "candidates" not in node.calls


async def test_job_that_fails_its_search_is_kept(node: Node) -> None:
    await node.online("d")
    need = makers.need(node.store.now_ms(), stores=("no-such-store",))
    ref = await submit_early(node, need=need)
    assert (await node.job(ref)).state is S.QUEUED
    await node.offered(await submit_early(node), "d")


async def test_search_without_a_storage_pauses_no_rounds(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await make_node()
    await node.online("d")

    async def unavailable(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(node.store.offers, "candidates", unavailable)
        early = node.dispatcher.orders.speculate(MALL.id)
        assert not await early.finds(node.submission(MALL.id, S.QUEUED))
        early.close()
    ref = await node.submit()
    await node.offered(ref, "d")
