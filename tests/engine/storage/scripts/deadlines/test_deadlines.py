"""Due entries, silent drivers, leases, lost writes, retention and a full server."""

import pytest

from mallard_engine.ports import DueEntry, DueKind, StoreFull
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.lifecycle import JobState, Outcome, Step, Wish
from tests.engine.storage.worlds import (
    ACK_MS,
    AT_MALL_MS,
    LAT,
    LON,
    MALL,
    MARKET,
    NODE,
    OFFER_MS,
    RESUME_MS,
    World,
)

LEASE_MS = 1_500


# -- due


async def test_overdue_entry_is_postponed_and_not_removed(world: World) -> None:
    ref = await world.submit()
    await world.pass_ms(999)
    assert await world.store.deadlines.due(MARKET, 10) == []
    await world.pass_ms(26)
    (entry,) = await world.store.deadlines.due(MARKET, 10)
    member = f"retry/{MALL}/{ref.job}"
    assert entry == DueEntry(member, DueKind.RETRY, ref.job, mall=MALL)
    assert await world.due() == {member: world.now + 2_000}
    assert await world.store.deadlines.due(MARKET, 10) == []


async def test_due_entries_are_read_oldest_first_in_batches(world: World) -> None:
    jobs = []
    for _ in range(5):
        jobs.append((await world.submit()).job)
        await world.pass_ms(1)
    await world.pass_ms(1_000)
    batches = [[entry.id for entry in await world.store.deadlines.due(MARKET, 3)] for _ in range(3)]
    assert batches == [jobs[:3], jobs[3:], []]


async def test_due_entry_is_parsed_by_its_kind(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.pass_ms(300_000)
    entries = {entry.kind: entry for entry in await world.store.deadlines.due(MARKET, 10)}
    assert (entries[DueKind.DRIVER].id, entries[DueKind.DRIVER].mall) == ("ann", "")
    entry = entries[DueKind.OFFER]
    assert (entry.id, entry.mall, entry.offer) == (ref.job, MALL, offer)


# -- silence


async def check_silence(world: World, state: str) -> tuple[str, dict[str, int]]:
    """Run the silence script on the held job; return its state and due entries."""
    (member,) = [member for member in await world.due() if member.startswith("silent/")]
    job = member.rpartition("/")[2]
    world.link.verdicts.clear()
    await world.store.deadlines.silence(DueEntry(member, DueKind.SILENT, job, mall=MALL))
    ((_, verdict),) = world.link.verdicts - {("silence", "where")}
    assert verdict == state
    others = ("driver/", "return/")
    due = {m: at for m, at in (await world.due()).items() if not m.startswith(others)}
    return (await world.store.jobs.get(job)).state.value, due


async def test_job_of_a_silent_driver_is_requeued(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.assigned(deadline_ms=world.now)
    await world.pass_ms(RESUME_MS)
    assert (await check_silence(world, "waits"))[0] == "assigned"
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    lost_ms = world.now
    await world.pass_ms(RESUME_MS - 1)
    state, due = await check_silence(world, "waits")
    assert (state, list(due.values())) == ("assigned", [lost_ms + RESUME_MS])
    await world.pass_ms(1)
    assert (await check_silence(world, "silent"))[0] == "queued"
    job = await world.job(ref)
    assert (job.attempt, job.driver, job.asked[-1].outcome) == (attempt + 1, None, "silent")
    # Without a socket it gets no push: its app is to be woken.
    wake = (await world.events("driver"))[-1]
    assert (wake["what"], wake["reason"]) == ("wake", "job")
    assert await world.events("alert") == []


async def test_silence_at_the_mall_alerts_before_the_requeue(world: World) -> None:
    await world.driver("ann")
    await world.in_state(JobState.AT_MALL)
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    lost_ms = world.now
    await world.pass_ms(RESUME_MS)
    state, due = await check_silence(world, "alerted")
    assert (state, list(due.values())) == ("at_mall", [lost_ms + AT_MALL_MS])
    assert [alert["what"] for alert in await world.events("alert")] == ["driver_silent"]
    await world.pass_ms(AT_MALL_MS - RESUME_MS - 1)
    assert (await check_silence(world, "waits"))[0] == "at_mall"
    await world.pass_ms(1)
    assert (await check_silence(world, "silent"))[0] == "queued"
    assert len(await world.events("alert")) == 1


@pytest.mark.parametrize("state", [JobState.PICKED_UP, JobState.RETURNING])
async def test_silent_driver_keeps_a_parcel_on_board(world: World, state: JobState) -> None:
    await world.driver("ann")
    await world.in_state(state)
    for times in (1, 2):
        await world.store.drivers.disconnect(MARKET, NODE, [("ann", times)])
        await world.pass_ms(RESUME_MS - 1)
        assert (await check_silence(world, "waits"))[0] == state
        await world.pass_ms(1)
        # One alert for each absence; a new absence starts over.
        assert await check_silence(world, "alerted") == (state, {})
        assert len(await world.events("alert")) == times
        await world.connect("ann")


async def test_connected_driver_with_a_parcel_has_no_due_entry(world: World) -> None:
    await world.driver("ann")
    await world.in_state(JobState.PICKED_UP)
    assert await check_silence(world, "waits") == ("picked_up", {})


async def test_driver_who_returns_in_time_keeps_the_job(world: World) -> None:
    await world.driver("ann")
    await world.assigned()
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1)])
    await world.pass_ms(RESUME_MS - 1)
    await world.connect("ann")
    await world.pass_ms(1)
    state, due = await check_silence(world, "waits")
    assert (state, list(due.values())) == ("assigned", [world.now + RESUME_MS])


async def test_silence_check_does_not_change_the_job(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned()
    before = await world.job(ref)
    await world.pass_ms(RESUME_MS)
    await check_silence(world, "waits")
    assert await world.job(ref) == before


async def test_obsolete_silence_entry_is_removed(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(JobState.QUEUED)
    member = f"silent/{MALL}/{ref.job}"
    await world.redis.zadd(world.keys.key("due"), {member: world.now})
    await world.store.deadlines.silence(DueEntry(member, DueKind.SILENT, ref.job, mall=MALL))
    assert member not in await world.due()


# -- leases


async def test_lease_expires_after_its_duration(world: World) -> None:
    first = await world.store.leases.beat(MARKET, "n2")
    assert (first.standing.since_ms, first.dead, first.now_ms) == (world.now, (), world.now)
    world.clock.now_ms += LEASE_MS - 1
    assert (await world.store.leases.beat(MARKET, "n2")).standing == first.standing
    world.clock.now_ms += LEASE_MS
    assert (await world.store.leases.beat(MARKET, "n2")).standing.since_ms == world.now


@pytest.mark.finding("B1")
async def test_lapsed_lease_is_reported_repeatedly(world: World) -> None:
    before = (await world.store.leases.beat(MARKET, NODE)).standing
    world.clock.now_ms += LEASE_MS
    await world.store.leases.beat(MARKET, NODE)  # its reply is lost
    lapsed_ms = world.now
    for _ in range(3):
        world.clock.now_ms += 500
        standing = (await world.store.leases.beat(MARKET, NODE)).standing
        assert standing != before
        assert standing.since_ms == lapsed_ms


@pytest.mark.finding("B3")
async def test_node_with_a_new_lease_reports_no_dead_nodes(world: World) -> None:
    """After an outage every lease has run out, and one node is the first to beat."""
    world.clock.now_ms += 5_000
    assert (await world.store.leases.beat(MARKET, "n2")).dead == ()
    world.clock.now_ms += LEASE_MS - 1
    assert (await world.store.leases.beat(MARKET, "n2")).dead == ()
    world.clock.now_ms += 1
    assert (await world.store.leases.beat(MARKET, "n2")).dead == (NODE,)


# -- lost writes


async def lost_ms(world: World) -> int:
    return (await world.store.leases.beat(MARKET, NODE)).standing.lost_ms


@pytest.mark.finding("B4")
async def test_missing_event_indicates_lost_writes(world: World) -> None:
    await world.driver("ann")
    assert await lost_ms(world) == 0
    await world.pass_ms(500)
    ((event, _),) = await world.redis.xrevrange(world.keys.key("events"), count=1)
    await world.redis.xdel(world.keys.key("events"), event)
    noticed_ms = world.now
    assert await lost_ms(world) == noticed_ms
    await world.pass_ms(500)
    assert await lost_ms(world) == noticed_ms
    await world.submit()
    await world.pass_ms(500)
    assert await lost_ms(world) == noticed_ms


@pytest.mark.finding("B4")
async def test_emptied_store_indicates_lost_writes(world: World) -> None:
    await world.submit()
    await world.redis.flushall()
    assert await lost_ms(world) == world.now
    await world.redis.flushall()
    await world.pass_ms(1)
    assert await lost_ms(world) == world.now
    await world.beat()


@pytest.mark.finding("B4")
async def test_change_of_server_indicates_lost_writes(
    world: World, other_store: RedisStorage
) -> None:
    await world.redis.hset(world.keys.key("lineage"), "server", "another")
    assert await lost_ms(world) == world.now
    # Other nodes read the same loss and do not report another one.
    await world.pass_ms(500)
    other = await other_store.leases.beat(MARKET, "n2")
    assert other.standing.lost_ms == await lost_ms(world) == world.now - 500


@pytest.mark.finding("B4")
async def test_trimmed_events_are_not_lost_writes(world: World) -> None:
    await world.submit()
    await world.pass_ms(86_400_000)
    await world.redis.delete(world.keys.key("events"))
    assert await lost_ms(world) == 0
    await world.redis.flushall()


async def test_drivers_of_a_dead_node_are_reaped_in_batches(world: World) -> None:
    drivers = {f"d{number}" for number in range(5)}
    for driver in drivers:
        await world.driver(driver)
    ref, _ = await world.assigned("d0")
    await world.store.leases.beat(MARKET, "n2")
    world.clock.now_ms += LEASE_MS
    await world.store.leases.beat(MARKET, "n2")
    taken = [(await world.store.leases.reap(MARKET, NODE, 3))[0] for _ in range(3)]
    assert taken == [3, 2, 0]
    assert await world.idle() == set()
    assert not any([(await world.record(driver)).connected for driver in drivers])
    assert await world.due_of(ref) == world.now + RESUME_MS
    # Nothing is left of the node.
    assert await world.redis.zrange(world.keys.key("nodes"), 0, -1) == [b"n2"]
    assert await world.redis.exists(world.keys.held(NODE)) == 0


async def test_reap_keeps_drivers_that_moved_to_another_node(world: World) -> None:
    await world.driver("ann")
    world.clock.now_ms += LEASE_MS
    await world.store.leases.beat(MARKET, "n2")
    await world.connect("ann", node="n2")
    assert (await world.store.leases.reap(MARKET, NODE, 10))[0] == 1
    ann = await world.record()
    assert (ann.connected, ann.node) == (True, "n2")
    assert await world.idle() == {"ann"}


async def test_returned_node_is_not_reaped(world: World) -> None:
    await world.driver("ann")
    assert (await world.store.leases.reap(MARKET, NODE, 10))[0] == 0
    assert (await world.record()).connected
    assert await world.idle() == {"ann"}
    await world.store.leases.beat(MARKET, "n2")
    assert (await world.store.leases.reap(MARKET, "n2", 10))[0] == 0
    assert await world.redis.zscore(world.keys.key("nodes"), "n2") == world.now + LEASE_MS


async def test_node_without_drivers_gives_up_its_lease(world: World) -> None:
    epoch = await world.connect("ann")
    assert not await world.store.leases.leave(MARKET, NODE)
    await world.store.drivers.disconnect(MARKET, NODE, [("ann", epoch)])
    assert await world.store.leases.leave(MARKET, NODE)
    assert not await world.store.leases.leave(MARKET, NODE)


# -- counts and pushes


async def test_waiting_jobs_are_counted_by_mall(world: World) -> None:
    await world.submit()
    assert await world.store.jobs.waiting(MARKET, [MALL, "other"]) == [1, 0]


async def test_pushes_are_read_from_a_cursor(world: World) -> None:
    pushes = RedisStorage(world.url, {MARKET: world.policy}, node=NODE)
    await pushes.connect()
    begin = await pushes.pushes.head(MARKET)
    assert begin == "0-0"
    await world.driver("ann")
    ref, offer = await world.offered()
    head = {MARKET: await pushes.pushes.head(MARKET)}
    assert await pushes.pushes.read(head, 1) == []
    await world.store.jobs.cancel(ref, "toys", "")
    (entry,) = await pushes.pushes.read(head, 1)
    assert (entry.market, entry.push.kind, entry.push.offer_id) == (MARKET, "offer_closed", offer)
    assert entry.cursor == await pushes.pushes.head(MARKET)
    assert [e.push.seq for e in await pushes.pushes.read({MARKET: begin}, 1)] == [1, 2]
    await pushes.close()


# -- a full or restarted server


async def test_full_server_refuses_only_hello_and_submit(world: World) -> None:
    world.nodes.add("n2")
    await world.driver("ann")
    await world.driver("bob")
    offered, offer = await world.offered("ann")
    held, attempt = await world.assigned("bob")
    queued = await world.submit()
    submission = world.submission()
    await world.redis.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreFull):
            await world.store.jobs.submit(submission)
        with pytest.raises(StoreFull):
            await world.connect("eve")
        await world.pass_ms(1_000)
        assert await world.fix("ann") == "ok"
        await world.store.offers.ack(MARKET, "ann", offer)
        await world.store.offers.accept(MARKET, "ann", offer)
        await world.step(offered, Step.PICKED_UP, 1)
        await world.step(offered, Step.DELIVERED, 1)
        await world.store.jobs.release(held, attempt, Outcome.UNASSIGNED, "operator", "")
        await world.store.offers.candidates(
            MARKET, MALL, LAT, LON, radius_m=100, max_radius_m=100, drivers=1, jobs=1
        )
        second = await world.offer(queued, "ann")
        await world.store.offers.decline(MARKET, "ann", second, "")
        await world.store.drivers.status(MARKET, "ann", Wish.PAUSED, None)
        await world.store.jobs.cancel(held, "toys", "")
        await world.store.deadlines.retry_later(queued, 1, world.now + 9_000)
        await world.pass_ms(9_000)
        assert await world.store.deadlines.due(MARKET, 10)
        await world.store.deadlines.expire(queued, "nobody_in_reach", 0)
        await world.store.drivers.disconnect(MARKET, NODE, [("ann", 1), ("bob", 1)])
        await world.store.deadlines.driver_due(MARKET, "ann")
        await world.pass_ms(600_000)
        assert await world.store.deadlines.forget(MARKET) > 0
    finally:
        await world.redis.config_set("maxmemory", "0")
    await world.store.jobs.submit(submission)


async def test_scripts_are_loaded_again_after_a_flush(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.redis.script_flush()
    await world.store.offers.accept(MARKET, "ann", offer)
    assert await world.state(ref) == "assigned"


# -- retention


async def test_offers_and_jobs_are_forgotten_after_their_time(world: World) -> None:
    await world.driver("ann")
    delivered, _ = await world.in_state(JobState.DELIVERED)
    cancelled, _ = await world.in_state(JobState.CANCELLED)
    live = await world.submit()
    external_id = (await world.job(delivered)).external_id
    assert await world.store.deadlines.forget(MARKET) == 0
    await world.pass_ms(600_000)
    assert await world.store.deadlines.forget(MARKET) == 1
    assert await world.redis.hlen(world.keys.key("offers")) == 0
    await world.pass_ms(7 * 86_400_000)
    await world.drop_what_has_a_ttl()
    # Two jobs, their external ids and shops, and three jobs' names in the index.
    assert await world.store.deadlines.forget(MARKET) == 8
    assert await world.redis.zrange(world.keys.key("by_age"), 0, -1) == [live.job.encode()]
    assert await world.redis.zcard(world.keys.key("by_service")) == 1
    await world.pass_ms(3_600_000)
    await world.store.deadlines.forget(MARKET)
    assert await world.redis.zcard(world.keys.key("by_external")) == 1
    assert await world.redis.zcard(world.keys.key("forget")) == 2  # its name, and its shop
    again = world.submission(external_id=external_id)
    assert not (await world.store.jobs.submit(again)).replayed
    assert cancelled.job != again.job


async def test_live_offer_is_not_forgotten(world: World) -> None:
    await world.driver("ann")
    ref, offer = await world.offered()
    await world.pass_ms(ACK_MS + OFFER_MS + 600_000)
    assert await world.store.deadlines.forget(MARKET) == 0
    assert await world.store.offers.first_job(MARKET, offer) == ref


# -- waiting jobs by mall


@pytest.mark.parametrize("others", [0, 39, 40])
async def test_waiting_counts_agree_for_few_and_many_malls(world: World, others: int) -> None:
    malls = [MALL, *(f"m{n}" for n in range(others))]
    assert await world.store.jobs.waiting(MARKET, malls) == [0] * len(malls)
    # With 40 malls more jobs wait than there are malls: the script then reads each mall.
    for _ in range(41 if others == 39 else 2):
        await world.submit()
    expected = 41 if others == 39 else 2
    assert await world.store.jobs.waiting(MARKET, malls) == [expected, *[0] * others]
    assert await world.store.jobs.waiting(MARKET, malls[::-1]) == [*[0] * others, expected]
