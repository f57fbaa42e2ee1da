"""The audit of staggered rounds: a consistent Redis has no breach, each planted one is reported."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import JobRef
from tests.engine.storage.breaches.writing import change, set_job
from tests.engine.storage.scripts.offers.test_staggered import (
    begin,
    more,
    offer_to_next,
    offer_to_two,
)
from tests.engine.storage.worlds import MALL, MARKET, World


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=1, offer_rungs=("sequential", "staggered 2/2"))


async def change_round(world: World, ref: JobRef, **fields: Any) -> None:
    key = world.keys.job(ref.job)
    record = msgspec.msgpack.decode(await world.redis.hget(key, "round"))
    await world.redis.hset(key, "round", msgspec.msgpack.encode(record | fields))


async def round_of_two(world: World) -> JobRef:
    for driver in ("ann", "bob", "cleo"):
        await world.driver(driver)
    ref = await world.submit()
    await begin(world, ref, "ann", "bob", most=2)
    await offer_to_next(world, ref)
    return ref


async def more_drivers_than_any_rung_allows(world: World) -> None:
    await offer_to_next(world, await offer_to_two(world))


async def more_drivers_than_this_round_allows(world: World) -> None:
    await change_round(world, await round_of_two(world), asked=3, most=2)


async def offer_missing_from_its_round(world: World) -> None:
    await change_round(world, await round_of_two(world), live=["o1-0"])


async def round_of_a_queued_job(world: World) -> None:
    await set_job(world, await round_of_two(world), state="queued", offer="")


async def first_offer_differs_from_the_jobs(world: World) -> None:
    await set_job(world, await round_of_two(world), offer="o2-0")


async def ended_offer_in_a_round(world: World) -> None:
    await round_of_two(world)
    await change(world, "offers", "o2-0", state="declined")
    await change(world, "drivers", "bob", offer=None)


async def offer_at_another_attempt(world: World) -> None:
    ref = await round_of_two(world)
    await change(world, "offers", "o2-0", jobs=[{"job": ref.job, "attempt": 2}])


async def driver_with_two_offers_of_a_job(world: World) -> None:
    await round_of_two(world)
    await change(world, "offers", "o2-0", driver="ann")


async def two_winners(world: World) -> None:
    await world.driver("ann")
    ref, _ = await world.assigned("ann")
    turns = [[driver, 1, "accepted", world.now] for driver in ("bob", "ann")]
    await set_job(world, ref, asked=msgspec.msgpack.encode(turns))


async def second_offer_without_a_due_entry(world: World) -> None:
    ref = await round_of_two(world)
    await world.redis.zrem(world.keys.key("due"), f"offer/{MALL}/o2-0/{ref.job}")


async def round_without_its_due_entry(world: World) -> None:
    for driver in ("ann", "bob"):
        await world.driver(driver)
    ref = await world.submit()
    await begin(world, ref, "ann", "bob", most=2)
    await world.redis.zrem(world.keys.key("due"), more(ref).member)


async def due_entry_of_a_complete_round(world: World) -> None:
    ref = await round_of_two(world)
    await world.redis.zadd(world.keys.key("due"), {more(ref).member: world.now + 1_000})


Plant = Callable[[World], Awaitable[None]]
PLANTED: list[tuple[str, Plant]] = [
    ("S3", more_drivers_than_any_rung_allows),
    ("S3", more_drivers_than_this_round_allows),
    ("S3", offer_missing_from_its_round),
    ("S3", round_of_a_queued_job),
    ("S3", first_offer_differs_from_the_jobs),
    ("S3", ended_offer_in_a_round),
    ("S3", offer_at_another_attempt),
    ("S3", driver_with_two_offers_of_a_job),
    ("S3", two_winners),
    ("S14", second_offer_without_a_due_entry),
    ("S14", round_without_its_due_entry),
    ("S14", due_entry_of_a_complete_round),
]


@pytest.mark.parametrize(("rule", "plant"), PLANTED, ids=lambda p: getattr(p, "__name__", p))
async def test_planted_breach_is_reported(planted: World, rule: str, plant: Plant) -> None:
    await plant(planted)
    found = await planted.breaches()
    assert rule in {breach.rule for breach in found}, found


@pytest.mark.parametrize("end", ["accepted", "cancelled", "declined"])
async def test_ended_round_leaves_no_breach_and_no_entries(world: World, end: str) -> None:
    ref = await round_of_two(world)
    assert await world.breaches() == ()
    if end == "accepted":
        await world.store.offers.accept(MARKET, "bob", "o2-0")
    elif end == "declined":
        await world.store.offers.decline(MARKET, "ann", "o1-0", "")
        assert await world.breaches() == ()
        await world.store.offers.decline(MARKET, "bob", "o2-0", "")
    assert await world.breaches() == ()
    await world.store.jobs.cancel(ref, "toys", "")
    assert await world.breaches() == ()
    assert [m for m in await world.due() if m.endswith(ref.job)] == []
    assert await world.redis.hget(world.keys.job(ref.job), "round") is None
