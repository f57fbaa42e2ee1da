"""Retries of jobs that no driver can take: what they cost, and what they find.

What changes starts a round by itself; these tests take such wake-ups away.
"""

import asyncio
from typing import Any

import pytest

from mallard_engine.core.matching.ranking import Matcher
from mallard_engine.core.model import RoundRecord, Vehicle
from mallard_engine.dispatch.rounds import round_memory
from mallard_engine.dispatch.rounds.round_memory import RecordedRounds
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.ports import JobRef, StoreUnavailable
from mallard_engine.storage.calls.deadlines import RedisDeadlines
from mallard_engine.storage.calls.leases import LEASE_MS
from mallard_engine.storage.calls.offers import RedisOffers
from mallard_protocol.lifecycle import JobState
from tests.engine.dispatch.conftest import MakeNode
from tests.engine.dispatch.rounds.test_long_queue import eventually_asked, queue_unservable
from tests.engine.dispatch.worlds import KEYS, MALL, Node
from tests.support import eventually

RETRY_S = 0.2
KINDS: dict[str, dict[str, Any]] = {
    "sequential": {},
    "runs": {"preset": "pooled", "max_run_jobs": 3},
    "batch": {"round": "batch", "window_ms": 20},
}


@pytest.fixture(params=list(KINDS))
async def retrying(request: pytest.FixtureRequest, make_node: MakeNode) -> Node:
    """A node with each kind of round, which retries often."""
    return await make_node(retry_s=RETRY_S, **KINDS[request.param])


@pytest.fixture
def _no_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver who becomes free or comes into reach starts a round."""
    monkeypatch.setattr(RoundScheduler, "wake_waiting", lambda *_: None)


async def retried(node: Node, ref: JobRef) -> None:
    """Wait until the job has been retried a few times since."""
    node.calls.clear()
    await eventually(lambda: node.calls.count("retry_later") >= 3)
    assert (await node.job(ref)).state is JobState.QUEUED


@pytest.mark.usefixtures("_no_wakes")
async def test_retry_finds_a_driver_whose_wake_up_was_lost(retrying: Node) -> None:
    ref = await retrying.submit()
    await retried(retrying, ref)
    await retrying.online("d")
    await retrying.offered(ref, "d")


@pytest.mark.usefixtures("_no_wakes")
async def test_retry_of_others_finds_a_job_deep_in_the_queue(retrying: Node) -> None:
    scout = await queue_unservable(retrying, 3_000)
    ref = await retrying.submit(service="shop")
    await retried(retrying, scout)
    await retrying.online("d")
    # With so many jobs the next retry of either is minutes away; the other jobs have no retry.
    entry, now_ms = f"retry/{MALL.id}/{scout.job}", retrying.store.now_ms()
    await retrying.store.runner.link.call("ZADD", KEYS.key("due"), now_ms, entry)
    await eventually_asked(retrying, ref, "d")


@pytest.mark.usefixtures("_no_wakes")
async def test_retry_finds_a_driver_who_has_come_nearer(make_node: MakeNode) -> None:
    node = await make_node(retry_s=RETRY_S)
    await node.online("d", 21_000)
    ref = await node.submit()
    await retried(node, ref)
    await node.moves("d", 19_000)
    await node.offered(ref, "d")


async def test_death_of_a_node_wakes_the_jobs_it_may_have_forgotten(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node frees a driver and dies before it wakes the jobs; no retry is due for long."""
    other = await make_node("other", lease_ms=LEASE_MS)
    node = await make_node("here", lease_ms=LEASE_MS)
    ref = await node.submit()
    await node.waits(ref)
    with monkeypatch.context() as patch:
        patch.setattr(RoundScheduler, "wake_waiting", lambda *_: None)
        await other.online("elsewhere", 21_000)
        await node.online("d")
        await other.die()
    await node.offered(ref, "d")


async def test_round_that_the_storage_interrupted_is_repeated(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []

    async def away(*_: object, **__: object) -> None:
        failed.append("candidates")
        raise StoreUnavailable("away")

    ref = await node.submit()
    await node.waits(ref)
    with monkeypatch.context() as patch:
        patch.setattr(RedisOffers, "candidates", away)
        await node.online("d")
        await eventually(lambda: failed)
    await node.offered(ref, "d")


@pytest.mark.finding("A7")
@pytest.mark.parametrize("kind", ["sequential", "runs"])
async def test_round_of_many_jobs_lets_other_tasks_run(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    node = await make_node(**KINDS[kind])
    ranked_in_a_turn, running, most_at_once = [0], 0, 0
    rank, retry_later = Matcher.rank, RedisDeadlines.retry_later

    def count_rank(self: Matcher, *args: Any) -> Any:
        if not ranked_in_a_turn[-1]:
            asyncio.get_running_loop().call_soon(ranked_in_a_turn.append, 0)
        ranked_in_a_turn[-1] += 1
        return rank(self, *args)

    async def count_retry(self: RedisDeadlines, *args: Any) -> Any:
        nonlocal running, most_at_once
        running += 1
        most_at_once = max(most_at_once, running)
        try:
            return await retry_later(self, *args)
        finally:
            running -= 1

    with monkeypatch.context() as patch:
        patch.setattr(Matcher, "rank", count_rank)
        patch.setattr(RedisDeadlines, "retry_later", count_retry)
        ref = await queue_unservable(node, 100)
        await node.online("d", vehicle=Vehicle(equipment=()))
        await retried(node, ref)
    assert sum(ranked_in_a_turn) >= 100
    assert max(ranked_in_a_turn) <= 16
    assert most_at_once <= 32


@pytest.mark.finding("A7")
async def test_run_round_ranks_no_postponed_job_again(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await make_node(**KINDS["runs"])
    await node.online("d", vehicle=Vehicle(equipment=()))
    await queue_unservable(node, 100)
    rounds = node.dispatcher._rounds.at(MALL.id)
    rounds.wake(driver=True)
    await eventually(lambda: len(rounds) == 101 and not rounds.is_running)
    ranked: list[Any] = []
    rank = Matcher.rank

    def count_rank(self: Matcher, *args: Any) -> Any:
        ranked.append(args)
        return rank(self, *args)

    monkeypatch.setattr(Matcher, "rank", count_rank)
    rounds.wake(driver=True)
    await rounds.next_round()
    assert len(rounds) == 101
    assert ranked == []


@pytest.mark.finding("A7")
async def test_run_round_reads_a_queue_that_is_still_long_once(make_node: MakeNode) -> None:
    node = await make_node(**KINDS["runs"])
    for number in range(12):
        await node.online(f"d{number}", vehicle=Vehicle(equipment=()))
    await queue_unservable(node, 300)
    rounds = node.dispatcher._rounds.at(MALL.id)
    rounds.wake(driver=True)
    await eventually(lambda: len(rounds) == 301 and not rounds.is_running)
    node.calls.clear()
    rounds.wake(driver=True)
    await rounds.next_round()
    assert node.calls.count("candidates") == 1


@pytest.mark.finding("A7")
@pytest.mark.parametrize("kind", ["sequential", "runs"])
async def test_new_job_reads_a_long_queue_only_if_a_driver_may_take_it(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    node = await make_node(**KINDS[kind])
    await node.online("d", vehicle=Vehicle(equipment=()))
    await queue_unservable(node, 100)
    rounds = node.dispatcher._rounds.at(MALL.id)
    rounds.wake(driver=True)
    await eventually(lambda: len(rounds) == 101 and not rounds.is_running)
    read: list[int] = []
    candidates = RedisOffers.candidates

    async def count(self: RedisOffers, *args: Any, **kwargs: Any) -> Any:
        read.append(kwargs["jobs"])
        return await candidates(self, *args, **kwargs)

    monkeypatch.setattr(RedisOffers, "candidates", count)
    await node.submit(requires=("forklift",))
    await eventually(lambda: len(rounds) == 102 and not rounds.is_running)
    assert read
    assert not any(read)
    ref = await node.submit()
    await node.offered(ref, "d")
    assert any(read)


async def test_retries_that_find_nothing_new_store_no_record(retrying: Node) -> None:
    ref = await retrying.submit(requires=("forklift",))
    await retried(retrying, ref)
    first = await retrying.store.offers.last_round(ref.job)
    await retried(retrying, ref)
    assert await retrying.store.offers.last_round(ref.job) == first


async def test_record_follows_when_another_driver_does_not_fit(make_node: MakeNode) -> None:
    node = await make_node(retry_s=RETRY_S)
    ref = await node.submit(requires=("forklift",))
    await retried(node, ref)
    await node.online("d", vehicle=Vehicle(equipment=()))

    async def names_the_driver() -> bool:
        last = await node.store.offers.last_round(ref.job)
        return last is not None and [it.driver for it in last.candidates] == ["d"]

    await eventually(names_the_driver)


def test_record_is_news_once_and_again_after_a_change() -> None:
    recorded = RecordedRounds()
    record = RoundRecord("job", 0, at_ms=1, radius_m=1_000, capped=False)
    assert recorded.is_news(record, 1)
    assert not recorded.is_news(RoundRecord("job", 0, 2, 1_000, capped=False), 1)
    assert recorded.is_news(RoundRecord("job", 0, 3, 2_000, capped=False), 1)
    assert recorded.is_news(RoundRecord("job", 1, 4, 2_000, capped=False), 1)


def test_remembered_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(round_memory, "_SPARE_RECORDS", 2)
    recorded = RecordedRounds()
    for n in range(10):
        assert recorded.is_news(RoundRecord(f"job{n}", 0, 0, 0, capped=False), 3)
    assert len(recorded) == 5
