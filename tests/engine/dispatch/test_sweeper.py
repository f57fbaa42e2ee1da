"""The sweeper: due entries take effect once, and malformed ones delay no others."""

import asyncio
from collections.abc import Sequence

from mallard_engine.ports import DueEntry, DueKind, JobRef
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.worlds import HOUR_MS, KEYS, MALL, MARKET, Node, RecordingSink
from tests.support import Standstill, eventually

GARBAGE = (
    b"",
    b"/",
    b"retry",
    b"retry/no-such-mall/job_phoenix.1",
    b"retry/" + MALL.id.encode() + b"/job_elsewhere.1",
    b"release/" + MALL.id.encode() + b"/job_elsewhere.1",
    b"silent/x/job_phoenix.none",
    b"offer/a/b",
    b"offer/a/b/c/d",
    b"offer/a/b/no-job",
    b"driver/nobody",
    b"unheard-of/x/y",
    b"\xff\xfe",
)


async def make_due(node: Node, members: Sequence[bytes]) -> None:
    for member in members:
        await node.store.runner.link.call("ZADD", KEYS.key("due"), 1, member)


async def test_malformed_due_entries_delay_no_others(
    make_node: MakeNode, standstill: Standstill
) -> None:
    node = await make_node(offer_ack_timeout_ms=200)
    await node.online("d1", 300)
    await node.online("d2", 900)
    ref = await node.submit()
    first = await node.offered(ref, "d1")
    # The sweep that finds the overdue offer also finds all of these.
    await make_due(node, GARBAGE)
    await node.offered(ref, "d2")
    assert (await node.job(ref)).asked[0].at_ms - first.ack_by_ms <= 500 + standstill.ms


async def test_200_malformed_due_entries_delay_no_others(
    make_node: MakeNode, standstill: Standstill
) -> None:
    node = await make_node(offer_ack_timeout_ms=200)
    await node.online("d1", 300)
    await make_due(node, [b"retry/no-such-mall/job_phoenix.%d" % n for n in range(200)])
    ref = await node.submit()
    first = await node.offered(ref, "d1")
    await eventually(lambda: node.outcomes(ref))
    assert (await node.job(ref)).asked[0].at_ms - first.ack_by_ms <= 500 + standstill.ms


async def test_job_of_a_removed_mall_expires(node: Node) -> None:
    gone = node.submission("a-mall-that-closed", JobState.QUEUED, expires_in_ms=200)
    await node.store.jobs.submit(gone)
    await eventually(lambda: node.store.now_ms() > gone.need.expires_ms)
    await make_due(node, [f"retry/{gone.mall}/{gone.job}".encode()])
    job = await node.is_in(JobRef(gone.job, gone.mall), JobState.EXPIRED)
    assert job.reason == "nobody_in_reach"


async def test_entries_swept_by_two_nodes_take_effect_once(
    make_node: MakeNode, sink: RecordingSink
) -> None:
    changes = {"offer_timeout_ms": 150, "offer_ack_timeout_ms": 150, "unreachable_s": 60.0}
    a, b = await make_node("a", **changes), await make_node("b", **changes)
    await a.online("d1", 300)
    ref = await a.submit()
    offer = await a.offered(ref, "d1")
    await a.acknowledges(offer)
    scheduled = await b.submit(state=JobState.SCHEDULED, release_in_ms=HOUR_MS)
    entries = [
        DueEntry(
            f"offer/{ref.mall}/{offer.offer}/{ref.job}",
            DueKind.OFFER,
            ref.job,
            ref.mall,
            offer.offer,
        ),
        DueEntry(f"release/{ref.mall}/{scheduled.job}", DueKind.RELEASE, scheduled.job, ref.mall),
        DueEntry(f"retry/{ref.mall}/{ref.job}", DueKind.RETRY, ref.job, ref.mall),
        DueEntry("driver/d1", DueKind.DRIVER, "d1"),
    ]
    await eventually(lambda: a.store.now_ms() > offer.expires_ms)
    for _ in range(3):
        await asyncio.gather(
            *(n.dispatcher._sweeper._execute(MARKET, entry) for n in (a, b) for entry in entries)
        )
    assert await a.outcomes(ref) == [("d1", "expired")]
    assert [push.why for push in sink.pushes_to("d1", "offer_closed")] == ["expired"]
    assert (await a.job(scheduled)).state is JobState.SCHEDULED
    queued = [entry for entry in (await a.job(ref)).timeline if entry.state == "queued"]
    assert [entry.cause for entry in queued] == ["submitted", "expired"]


async def test_node_sets_timers_for_its_own_due_entries(make_node: MakeNode) -> None:
    node = await make_node(offer_ack_timeout_ms=150)
    # Stop the periodic sweep, but no later task.
    for task in node.dispatcher._sweeper._tasks._running:
        task.cancel()
    await node.online("d1", 300)
    await node.online("d2", 900)
    ref = await node.submit()
    await node.offered(ref, "d1")
    await node.offered(ref, "d2")


async def test_concurrent_sweeps_share_their_calls(node: Node) -> None:
    await node.quiet()
    await asyncio.gather(*(node.dispatcher._sweeper.sweep(MARKET) for _ in range(50)))
    assert node.calls.count("due") <= 4


async def test_close_due_times_share_a_timer(node: Node) -> None:
    sweeper = node.dispatcher._sweeper
    before = len(sweeper._timers)
    for number in range(100):
        sweeper.schedule(MARKET, f"retry/mall/{number}", 30.0)
    assert len(sweeper._timers) <= before + 2
    held = len(sweeper._timers)
    sweeper.schedule(MARKET, "release/mall/far", 3_600.0)
    assert len(sweeper._timers) == held


async def test_removed_or_postponed_entry_cancels_its_timer(node: Node) -> None:
    sweeper = node.dispatcher._sweeper
    held = len(sweeper._timers)
    for number in range(100):
        sweeper.schedule(MARKET, "offer/mall/o/j", 1.0 + number / 2)
    assert len(sweeper._timers) == held + 1
    sweeper.schedule(MARKET, "offer/mall/o2/j2", 30.0)
    for member in ("offer/mall/o/j", "offer/mall/o2/j2", "offer/mall/o3/j3"):
        sweeper.forget(MARKET, member)
    assert len(sweeper._timers) == held
    assert not sweeper._slots


async def test_answered_offer_leaves_no_timer(node: Node) -> None:
    sweeper = node.dispatcher._sweeper
    await node.online("d")
    await node.quiet()
    ref = await node.submit()
    await node.accepts(await node.offered(ref, "d"))
    await node.quiet()
    assert not sweeper._slots


async def test_schedule_after_stop_sets_no_timer(make_node: MakeNode) -> None:
    node = await make_node()
    await node.dispatcher.stop()
    node.dispatcher._sweeper.schedule(MARKET, "retry/mall/job", 0)
    assert len(node.dispatcher._sweeper) == 0


async def test_maintenance_continues_after_an_error(node: Node) -> None:
    await node.online("d")
    beat, failures = node.store.leases.beat, []

    async def failing(market: str, name: str) -> object:
        node.store.leases.beat = beat  # type: ignore[method-assign]
        failures.append(name)
        raise ValueError("a bug")

    node.store.leases.beat = failing  # type: ignore[method-assign,assignment]
    await eventually(lambda: failures)
    node.calls.clear()
    await eventually(lambda: "beat" in node.calls)
    assert node.recovered == []


async def test_expired_hold_is_removed(node: Node) -> None:
    call = node.store.runner.link.call
    await call("HSET", KEYS.key("holds"), f"{MALL.id}/lego", 1)
    await call("ZADD", KEYS.key("forget"), 1, f"hold/{MALL.id}/lego")
    await node.dispatcher._sweeper._forget(MARKET)
    assert await call("EXISTS", KEYS.key("holds"), KEYS.key("forget")) == 0


async def test_ended_jobs_are_packed_by_the_market_s_sweeper(make_node: MakeNode) -> None:
    node = await make_node(pack_after_s=0.001)
    refs = [await node.submit() for _ in range(3)]
    for ref in refs:
        await node.store.jobs.cancel(ref, "shop", "")
    before = [await node.job(ref) for ref in refs]
    call = node.store.runner.link.call
    sweeper = node.dispatcher._sweeper

    async def are_packed() -> bool:
        await sweeper._forget_in_share()
        return all([await call("HEXISTS", KEYS.job(ref.job), "packed") for ref in refs])

    await eventually(are_packed)
    assert [await node.job(ref) for ref in refs] == before
    assert node.metrics.registry.get_sample_value("mallard_packed_jobs_total") == 3
