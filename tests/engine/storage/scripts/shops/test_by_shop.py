"""The list of a shop's jobs: what is open, and for a day what was collected."""

import pytest

from mallard_protocol.codes import TERMINAL_KEPT_MS
from mallard_protocol.lifecycle import JobState, Step
from tests.engine.storage.worlds import HOUR_MS, MALL, MARKET, World


async def listed(
    world: World, store: str = "lego", *, since_ms: int | None = None, limit: int = 50
) -> list[str]:
    """All pages of a shop's list."""
    found: list[str] = []
    cursor = None
    while True:
        page = await world.store.shops.pickups(
            MARKET,
            MALL,
            store,
            since_ms=world.now - HOUR_MS if since_ms is None else since_ms,
            limit=limit,
            cursor=cursor,
        )
        found += [job.id for job in page.jobs]
        if (cursor := page.next_cursor) is None:
            return found


async def forget_all(world: World) -> None:
    while await world.store.deadlines.forget(MARKET):
        pass


async def test_job_is_listed_by_each_of_its_shops(world: World) -> None:
    first = await world.submit(stores=("lego", "apple"))
    second = await world.submit(stores=("apple",))
    assert await listed(world) == [first.job]
    assert await listed(world, "apple") == [second.job, first.job]
    assert await listed(world, "app") == []
    assert await listed(world, "zara") == []


async def test_pages_hold_every_job_once(world: World) -> None:
    refs = [await world.submit(service=f"s{number % 3}") for number in range(7)]
    newest_first = [ref.job for ref in reversed(refs)]
    for limit in (1, 2, 6, 7, 8):
        assert await listed(world, limit=limit) == newest_first


@pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.EXPIRED])
async def test_job_that_ends_before_the_pickup_leaves_the_list(
    world: World, state: JobState
) -> None:
    await world.driver("ann")
    await world.in_state(state)
    assert await listed(world, since_ms=0) == []
    assert await world.redis.zrange(world.keys.key("by_shop"), 0, -1) == []
    left = await world.redis.zrange(world.keys.key("forget"), 0, -1)
    assert not [it for it in left if it.startswith((b"shop/", b"collected/"))]


@pytest.mark.parametrize(
    "state", [it for it in JobState if it not in {"cancelled", "expired", "failed"}]
)
async def test_open_and_collected_jobs_are_listed(world: World, state: JobState) -> None:
    await world.driver("ann")
    ref, _ = await world.in_state(state)
    assert await listed(world) == [ref.job]
    assert await world.breaches() == ()


async def test_job_collected_before_today_is_listed_only_while_open(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up("ann")
    await world.pass_ms(1_000)
    today_ms = world.now
    assert await listed(world, since_ms=today_ms) == [ref.job]
    await world.step(ref, Step.DELIVERED, attempt)
    assert await listed(world, since_ms=today_ms) == []
    assert await listed(world, since_ms=today_ms - 1_000) == [ref.job]


async def test_collected_job_leaves_the_list_after_a_day(world: World) -> None:
    await world.driver("ann")
    await world.in_state(JobState.DELIVERED)
    await world.pass_ms(25 * HOUR_MS)
    await forget_all(world)
    assert len(await listed(world, since_ms=0)) == 1
    await world.pass_ms(HOUR_MS)
    await forget_all(world)
    assert await world.redis.exists(world.keys.key("by_shop")) == 0


async def test_job_that_stays_open_for_weeks_stays_listed(world: World) -> None:
    ref = await world.submit(expires_ms=world.now + 100 * 24 * HOUR_MS)
    await world.pass_ms(TERMINAL_KEPT_MS + 1)
    await forget_all(world)
    assert await listed(world) == [ref.job]


async def test_job_that_an_older_engine_ends_is_forgotten(world: World) -> None:
    ref = await world.submit()
    name = f"{MALL}/lego/{ref.job}"
    await world.store.jobs.cancel(ref, "toys", "")
    # As an engine leaves it that does not know the list.
    await world.redis.zadd(world.keys.key("by_shop"), {name: 0})
    await world.redis.zadd(world.keys.key("forget"), {f"shop/{name}": world.now + TERMINAL_KEPT_MS})
    assert await listed(world, since_ms=0) == []
    assert await world.breaches() == ()
    for ms in (TERMINAL_KEPT_MS + 1, HOUR_MS):
        await world.pass_ms(ms)
        await world.drop_what_has_a_ttl()
        await forget_all(world)
    assert await world.redis.exists(world.keys.key("by_shop")) == 0


async def test_page_of_ended_jobs_is_bounded_and_goes_on(world: World) -> None:
    old = await world.submit()
    names = {f"{MALL}/lego/job_{MARKET}.{9000 + number:026d}": 0 for number in range(1_500)}
    await world.redis.zadd(world.keys.key("by_shop"), names)
    page = await world.store.shops.pickups(MARKET, MALL, "lego", since_ms=0, limit=200, cursor=None)
    assert (page.jobs, page.next_cursor is None) == ((), False)
    assert await listed(world, limit=200) == [old.job]
    await world.redis.zrem(world.keys.key("by_shop"), *names)


async def test_driver_of_a_job_is_known_by_its_vehicle(world: World) -> None:
    await world.driver("ann")
    assert await world.store.shops.vehicles(MARKET, ["ann", "nobody"]) == {"ann": "car"}
    assert await world.store.shops.vehicles(MARKET, []) == {}


async def test_ids_are_not_taken_for_jobs_of_another_shop(world: World) -> None:
    """`lego` and `lego-2` share a beginning."""
    await world.submit(stores=("lego-2",))
    await world.submit(stores=("lego.2",))
    assert await listed(world) == []
