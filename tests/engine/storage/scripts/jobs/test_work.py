"""Jobs and pay of the current block, kept only in markets that weigh earnings."""

import pytest

from mallard_engine.core.policy import CostWeights, MarketPolicy
from mallard_protocol.lifecycle import Step, Wish
from tests.engine.storage.worlds import HOUR_MS, MARKET, World


class TestWithEarningsWeight:
    @pytest.fixture
    def policy(self) -> MarketPolicy:
        return MarketPolicy(max_run_jobs=1, weights=CostWeights(earnings_s=60))

    async def test_delivery_counts_once_with_its_pay(self, world: World) -> None:
        began_ms = world.now
        await world.driver("ann")
        for pay_minor in (1_150, 0):
            ref, attempt = await world.picked_up("ann", pay_minor=pay_minor)
            await world.pass_ms(30_000)
            await world.step(ref, Step.DELIVERED, attempt)
            await world.step(ref, Step.DELIVERED, attempt)
            await world.fix("ann")
        ann = await world.record()
        assert (ann.block_ms, ann.done, ann.earned_minor) == (began_ms, 2, 1_150)

    async def test_returned_job_does_not_count(self, world: World) -> None:
        await world.driver("ann")
        ref, attempt = await world.picked_up("ann", pay_minor=1_150)
        await world.step(ref, Step.RETURNING, attempt)
        await world.step(ref, Step.RETURNED, attempt)
        ann = await world.record()
        assert (ann.done, ann.earned_minor) == (0, 0)

    async def test_earnings_start_over_after_offline_but_not_a_pause(self, world: World) -> None:
        await world.driver("ann")
        ref, attempt = await world.picked_up("ann", pay_minor=500)
        await world.step(ref, Step.DELIVERED, attempt)
        for wish in (Wish.PAUSED, Wish.AVAILABLE):
            await world.store.drivers.status(MARKET, "ann", wish, None)
        assert (await world.record()).done == 1
        await world.store.drivers.status(MARKET, "ann", Wish.OFFLINE, None)
        await world.pass_ms(HOUR_MS)
        await world.fix("ann")
        await world.store.drivers.status(MARKET, "ann", Wish.AVAILABLE, None)
        ann = await world.record()
        assert (ann.block_ms, ann.done, ann.earned_minor) == (world.now, 0, 0)

    async def test_sample_returns_existing_drivers(self, world: World) -> None:
        assert list(await world.store.drivers.sample(MARKET, 10)) == []
        names = {await world.driver(f"d{n}") for n in range(5)}
        some = {each.id for each in await world.store.drivers.sample(MARKET, 3)}
        assert len(some) == 3
        assert some < names


async def test_work_is_not_counted_without_an_earnings_weight(world: World) -> None:
    await world.driver("ann")
    ref, attempt = await world.picked_up("ann", pay_minor=1_150)
    await world.step(ref, Step.DELIVERED, attempt)
    record = await world.redis.hget(world.keys.key("drivers"), "ann")
    assert b"earned" not in record
    assert b"block_ms" not in record
