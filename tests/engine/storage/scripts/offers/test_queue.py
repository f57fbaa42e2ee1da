"""What a batch round reads of a market's queue."""

from tests.engine.storage.worlds import MARKET, World


async def test_queue_of_a_market_is_by_priority_and_age(world: World) -> None:
    refs = [await world.submit(priority=priority) for priority in (0, 3, 1)]
    queue = await world.store.offers.queue_of(MARKET, 10)
    assert [waiting.job for _, waiting in queue.jobs] == [refs[n].job for n in (1, 2, 0)]
    assert (queue.total, queue.now_ms) == (3, world.now)


async def test_repeated_reads_cover_a_long_queue(world: World) -> None:
    # Larger than a listpack, which a single HSCAN would return whole.
    refs = {(await world.submit()).job for _ in range(700)}
    seen: set[str] = set()
    for _ in range(4):
        queue = await world.store.offers.queue_of(MARKET, 100)
        read = {waiting.job for _, waiting in queue.jobs}
        assert queue.total == 700
        assert 100 <= len(read) < 700
        seen |= read
    assert seen == refs
