"""Ended jobs move from Redis to the archive, each once, and nothing leaves Redis before."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from mallard_engine.archive.document import ArchivedJob
from mallard_engine.archive.exporter import ArchiveInUse
from mallard_engine.archive.targets import Target, TargetUnavailable
from mallard_engine.storage.archive_queue import ArchiveQueue
from mallard_protocol.codes import TERMINAL_KEPT_MS
from mallard_protocol.lifecycle import Step
from tests.engine.archive.archives import BODY, DAY_MS, HOLD_MS, PICKUP_CODE, PIN, Archive
from tests.engine.storage.worlds import MALL, MARKET, World
from tests.support import eventually


class Failing(Target):
    """A target that fails until it is mended, and remembers what it got."""

    def __init__(self, archive: Archive) -> None:
        self.is_away = True
        self.refused = 0
        self._files = archive.files()

    async def open(self) -> None:
        await self._files.open()

    async def write(self, documents: Sequence[ArchivedJob]) -> None:
        if self.is_away:
            self.refused += 1
            raise TargetUnavailable("the database is away")
        await self._files.write(documents)

    async def close(self) -> None:
        await self._files.close()


class Killed(Failing):
    """A target after whose writes the process is killed, before it acknowledges them."""

    async def write(self, documents: Sequence[ArchivedJob]) -> None:
        await self._files.write(documents)
        raise TargetUnavailable("killed")


async def test_ended_job_is_archived_whole(world: World, archive: Archive) -> None:
    await world.driver()
    job = await archive.delivered()
    assert await archive.once() == 1
    (line,) = archive.lines()
    stored = await world.store.jobs.get(job)
    assert (line["format"], line["id"], line["market"]) == ("mallard archive 1", job, MARKET)
    assert (line["service"], line["mall"], line["state"]) == ("toys", MALL, "delivered")
    states = [it["state"] for it in line["job"]["timeline"]]
    assert states == [it.state for it in stored.timeline]
    assert line["job"]["dropoff"]["address"] == "1 Example Way"
    assert [(it["driver"], it["outcome"]) for it in line["attempts"]] == [("ann", "accepted")]
    assert [it["driver"] for it in line["explain"]["candidates"]] == ["ann"]
    types = [it["type"] for it in line["events"]]
    assert types[0] == "job.created"
    assert "job.delivered" in types
    sequences = [it["sequence"] for it in line["events"]]
    assert sequences == sorted(sequences)
    assert line["job"]["driver"] == "ann"


async def test_no_secret_of_an_order_is_archived(world: World, archive: Archive) -> None:
    await world.driver()
    await archive.delivered()
    await archive.once()
    text = json.dumps(archive.lines())
    assert PIN not in text
    assert PICKUP_CODE not in text


async def test_archived_job_is_released(world: World, archive: Archive) -> None:
    await archive.register()
    open_job = await world.submit(body=BODY)
    (job,) = await archive.cancelled()
    held_ms = await world.redis.pttl(world.keys.job(job))
    assert held_ms > TERMINAL_KEPT_MS + HOLD_MS - DAY_MS
    await archive.once()
    assert await world.redis.pttl(world.keys.job(job)) <= TERMINAL_KEPT_MS
    assert await archive.waiting() == []
    assert await archive.pending() == [open_job.job]


async def test_jobs_that_ended_before_the_archive_are_archived(
    world: World, archive: Archive
) -> None:
    jobs = await archive.cancelled(3)
    await world.redis.delete(world.keys.key("events"))  # trimmed
    await archive.register()
    assert await world.redis.pttl(world.keys.job(jobs[0])) > TERMINAL_KEPT_MS
    await archive.once()
    assert sorted(archive.ids()) == sorted(jobs)
    assert await archive.once() == 0
    await world.redis.flushall()  # the audit would miss the events


async def test_second_run_writes_nothing_again(world: World, archive: Archive) -> None:
    jobs = await archive.cancelled(5)
    assert await archive.once() == 5
    assert await archive.once() == 0
    assert archive.ids() == list(jobs)


async def test_kill_between_write_and_acknowledgement_doubles_nothing(
    world: World, archive: Archive
) -> None:
    await world.driver()
    jobs = [await archive.delivered(), *await archive.cancelled(3)]
    killed = Killed(archive)
    await killed.open()
    with pytest.raises(TargetUnavailable):
        await archive.exporter(killed).run_once()
    await killed.close()
    assert sorted(archive.ids()) == sorted(jobs)
    assert set(await archive.pending()) == set(jobs)
    await archive.once()
    assert sorted(archive.ids()) == sorted(jobs)
    assert await archive.pending() == []


async def test_events_of_an_open_job_survive_a_restart(world: World, archive: Archive) -> None:
    await world.driver()
    ref, attempt = await world.picked_up(body=BODY)
    assert await archive.once() == 0
    await world.step(ref, Step.DELIVERED, attempt)
    await archive.once()
    (line,) = archive.lines()
    types = [it["type"] for it in line["events"]]
    assert types[0] == "job.created"
    assert types.count("job.created") == 1
    assert "job.delivered" in types


async def test_target_that_was_away_gets_every_job_once(world: World, archive: Archive) -> None:
    target = Failing(archive)
    await target.open()
    exporter = archive.exporter(target)
    task = asyncio.create_task(exporter.run())
    jobs = list(await archive.cancelled(2))
    await eventually(lambda: target.refused > 2)
    jobs += await archive.cancelled(2)
    assert set(await archive.waiting()) == set(jobs)
    target.is_away = False
    await eventually(lambda: sorted(archive.ids()) == sorted(jobs))
    exporter.stop()
    await task
    await target.close()
    assert sorted(archive.ids()) == sorted(jobs)


async def test_change_after_the_end_is_a_further_line(world: World, archive: Archive) -> None:
    await world.driver()
    ref, attempt = await world.picked_up(body=BODY)
    await world.step(ref, Step.RETURNING, attempt)
    await world.step(ref, Step.RETURNED, attempt)
    await archive.once()
    again = world.submission(body=BODY, redelivery_of=ref.job)
    await world.store.jobs.submit(again)
    assert await archive.waiting() == [ref.job]
    assert await archive.once() == 1
    first, second = archive.lines()
    assert (first["redelivered_as"], second["redelivered_as"]) == (None, again.job)
    assert second["id"] == ref.job


async def test_change_while_a_job_is_written_is_not_lost(world: World, archive: Archive) -> None:
    await archive.register()
    (job,) = await archive.cancelled()
    ((_, at_ms),) = await archive.queue.waiting(MARKET, 10)
    await world.redis.zadd(world.keys.key("unarchived"), {job: at_ms + 5})
    ended = [await archive.queue._ended(MARKET, job, at_ms)]
    await archive.queue.done(MARKET, [], ended)
    assert await archive.waiting() == [job]


async def forget_all(world: World) -> None:
    while await world.store.deadlines.forget(MARKET):
        pass


async def test_unarchived_job_is_not_forgotten(world: World, archive: Archive) -> None:
    await archive.register()
    (job,) = await archive.cancelled()
    await world.pass_ms(TERMINAL_KEPT_MS + 1)
    await forget_all(world)
    assert await world.redis.zscore(world.keys.key("by_age"), job) is not None
    await archive.once()
    assert archive.ids() == [job]
    await world.pass_ms(2 * 3_600_000)
    await forget_all(world)
    assert await world.redis.zscore(world.keys.key("by_age"), job) is None
    await world.redis.flushall()  # the TTL of the record follows the real time


async def test_job_held_long_enough_is_forgotten_and_counted(
    world: World, archive: Archive
) -> None:
    await archive.register()
    (job,) = await archive.cancelled()
    await world.redis.delete(world.keys.job(job))  # its TTL has ended
    await world.pass_ms(TERMINAL_KEPT_MS + 1)
    await forget_all(world)
    assert await world.redis.zscore(world.keys.key("by_age"), job) is None
    assert await archive.waiting() == []
    lag = await archive.queue.lag(MARKET)
    assert lag is not None
    assert lag.lost == 1
    await world.redis.flushall()


async def test_without_an_archive_nothing_is_held(world: World, archive: Archive) -> None:
    (job,) = await archive.cancelled()
    assert await archive.waiting() == []
    assert await world.redis.pttl(world.keys.job(job)) <= TERMINAL_KEPT_MS
    assert await archive.queue.lag(MARKET) is None


async def test_removed_archive_holds_nothing(world: World, archive: Archive) -> None:
    await archive.register()
    (job,) = await archive.cancelled()
    await archive.queue.remove(MARKET)
    assert await world.redis.pttl(world.keys.job(job)) <= TERMINAL_KEPT_MS
    (later,) = await archive.cancelled()
    assert await archive.waiting() == []
    await archive.once()
    assert sorted(archive.ids()) == sorted([job, later])


async def test_lag_counts_and_dates_what_is_not_archived(world: World, archive: Archive) -> None:
    await archive.register()
    await archive.cancelled()
    since = world.now
    await world.pass_ms(60_000)
    await archive.cancelled(2)
    lag = await archive.queue.lag(MARKET)
    assert lag is not None
    assert (lag.waiting, lag.oldest_ms, lag.hold_ms, lag.lost) == (3, since, HOLD_MS, 0)


async def test_job_gone_from_redis_does_not_stop_the_archive(
    world: World, archive: Archive
) -> None:
    gone, kept = await archive.cancelled(2)
    await archive.register()
    await world.redis.delete(world.keys.job(gone))
    await archive.once()
    assert archive.ids() == [kept]
    assert await archive.pending() == []
    await world.redis.flushall()


async def test_job_that_cannot_be_read_does_not_stop_the_others(
    world: World, archive: Archive
) -> None:
    await archive.register()
    (bad,) = await archive.cancelled()
    await world.redis.hset(world.keys.job(bad), "need", b"\xc1")
    await world.pass_ms(1_000)
    (good,) = await archive.cancelled()
    assert await archive.once() == 1
    assert archive.ids() == [good]
    assert await archive.waiting() == [bad]
    await world.redis.flushall()


async def test_lost_group_is_made_again(world: World, archive: Archive) -> None:
    target = archive.files()
    await target.open()
    exporter = archive.exporter(target)
    task = asyncio.create_task(exporter.run())
    (first,) = await archive.cancelled()
    await eventually(lambda: exporter.written)
    await world.redis.xgroup_destroy(world.keys.key("events"), "mallard-archive")
    (second,) = await archive.cancelled()
    await eventually(lambda: second in archive.ids())
    exporter.stop()
    await task
    await target.close()
    assert archive.ids() == [first, second]


async def test_archive_goes_on_when_the_store_is_full(world: World, archive: Archive) -> None:
    await archive.register()
    jobs = await archive.cancelled(2)
    await world.redis.config_set("maxmemory", 1)
    try:
        assert await archive.once() == 2
    finally:
        await world.redis.config_set("maxmemory", 0)
    assert archive.ids() == list(jobs)
    assert await archive.waiting() == []


async def test_second_archive_waits_until_the_first_has_ended(
    world: World, archive: Archive
) -> None:
    """Two that worked at once would share the events of a job, and each would lack some."""
    target = archive.files()
    await target.open()
    first, second = archive.exporter(target), archive.exporter(target)
    running = [asyncio.create_task(first.run())]
    await archive.cancelled()
    await eventually(lambda: first.written)
    running.append(asyncio.create_task(second.run()))
    with pytest.raises(ArchiveInUse):
        await archive.exporter(target, lease_ms=300).run_once()
    await world.driver()
    ref, attempt = await world.picked_up(body=BODY)
    await eventually(lambda: archive_has_read(archive, ref.job))
    assert second.written == 0
    first.stop()
    await running[0]
    await world.step(ref, Step.DELIVERED, attempt)
    await eventually(lambda: second.written)
    second.stop()
    await running[1]
    await target.close()
    types = [it["type"] for it in archive.lines()[-1]["events"]]
    assert types[0] == "job.created"
    assert "job.delivered" in types


async def test_single_run_waits_for_the_lease_of_a_killed_one(
    world: World, archive: Archive
) -> None:
    target = archive.files()
    await target.open()
    await archive.register()
    (job,) = await archive.cancelled()
    await world.redis.set(world.keys.role("archive"), "a killed one", px=1_000)
    await archive.exporter(target, lease_ms=20_000).run_once()
    await target.close()
    assert archive.ids() == [job]


async def archive_has_read(archive: Archive, job: str) -> bool:
    return job in await archive.pending()


async def test_archive_that_lost_its_lease_stops_writing(world: World, archive: Archive) -> None:
    """It was frozen for longer than the lease lasts, and another one has begun."""
    target = archive.files()
    await target.open()
    exporter = archive.exporter(target, lease_ms=600)
    task = asyncio.create_task(exporter.run())
    await archive.cancelled()
    await eventually(lambda: exporter.written)
    await world.redis.set(world.keys.role("archive"), "another", px=60_000)
    await eventually(lambda: not exporter.is_alone)
    (late,) = await archive.cancelled()
    await asyncio.sleep(0.3)
    assert late not in archive.ids()
    await world.redis.delete(world.keys.role("archive"))
    await eventually(lambda: late in archive.ids())
    exporter.stop()
    await task
    await target.close()


async def test_job_is_written_once_all_its_events_are_read(world: World, archive: Archive) -> None:
    """The archive was away for long: more events wait than it reads at a time."""
    archive.queue = ArchiveQueue(world.store.runner, page=4)
    await archive.register()
    jobs = []
    for name in ("ann", "bob", "cho"):
        await world.driver(name)
        jobs.append(await archive.delivered(name))
        world.clock.now_ms += 1
    assert await archive.once() == 3
    assert sorted(archive.ids()) == sorted(jobs)
    for line in archive.lines():
        types = [it["type"] for it in line["events"]]
        assert (types[0], types[-1]) == ("job.created", "job.delivered")
    assert await archive.pending() == []
