"""How long an ended job is kept is a market's own figure."""

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.worlds import MARKET, World

DAY_MS = 86_400_000
DAYS = 30


@pytest.fixture
def policy() -> MarketPolicy:
    return MarketPolicy(max_run_jobs=1, ended_kept_days=DAYS)


async def test_ended_job_is_kept_as_long_as_its_market_says(world: World) -> None:
    await world.driver("ann")
    ref = (await world.in_state(JobState.DELIVERED))[0]
    key = world.keys.job(ref.job)
    for _ in range(2):
        assert (DAYS - 1) * DAY_MS < await world.redis.pttl(key) <= DAYS * DAY_MS
        await world.pass_ms(3_600_000)
        await world.store.deadlines.pack(MARKET)
    entry = f"job/toys/{ref.job}"
    due_ms = await world.redis.zscore(world.keys.key("forget"), entry)
    assert due_ms - (await world.store.jobs.get(ref.job)).updated_ms == DAYS * DAY_MS


async def test_last_round_is_kept_as_long_as_its_job(world: World) -> None:
    await world.driver("ann")
    ref = (await world.in_state(JobState.OFFERED))[0]
    left_ms = await world.redis.pttl(world.keys.round(ref.job))
    assert (DAYS - 1) * DAY_MS < left_ms <= DAYS * DAY_MS
