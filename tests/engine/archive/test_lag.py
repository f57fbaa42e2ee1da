"""How far the archive is behind, as nodes, `mallard check` and alerts report it."""

from dataclasses import replace

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.storage.archive_queue import ArchiveLag
from mallard_engine.storage.audit.audit import audit
from mallard_engine.storage.redis_storage import RedisStorage
from mallard_protocol.codes import TERMINAL_KEPT_MS
from tests.engine.archive.archives import DAY_MS, HOLD_MS, Archive
from tests.engine.storage.worlds import MARKET, World

HOUR_MS = 3_600_000
LAG = ArchiveLag(waiting=3, oldest_ms=1_000, hold_ms=HOLD_MS, kept_ms=TERMINAL_KEPT_MS, lost=0)


def test_lag_is_logged_after_an_hour() -> None:
    assert LAG.text(MARKET, 1_000 + HOUR_MS - 1) is None
    assert LAG.text(MARKET, 1_000 + 2 * HOUR_MS) == (
        "the archive of phoenix is 2 h behind: 3 ended jobs wait for it, and Redis deletes the "
        "oldest in 334 h: start `mallard archive`"
    )
    assert replace(LAG, oldest_ms=None).text(MARKET, 10 * DAY_MS) is None


def test_deletion_is_near_two_days_before_it() -> None:
    ends_ms = 1_000 + TERMINAL_KEPT_MS + HOLD_MS
    assert not LAG.is_near(ends_ms - 2 * DAY_MS)
    assert LAG.is_near(ends_ms - 2 * DAY_MS + 1)
    assert not replace(LAG, oldest_ms=None).is_near(ends_ms)
    longer = replace(LAG, kept_ms=30 * DAY_MS)
    assert not longer.is_near(ends_ms)
    assert longer.is_near(1_000 + 30 * DAY_MS + HOLD_MS - 2 * DAY_MS + 1)


async def test_node_warns_and_alerts_once_a_day(world: World, archive: Archive) -> None:
    await archive.register()
    await archive.cancelled(2)
    raised: list[str] = []
    policies = {MARKET: MarketPolicy(ended_kept_days=10)}
    node = RedisStorage(world.url, policies, now_ms=world.clock, on_alert=raised.append, node="n1")
    await node.connect()
    assert node.archive_lags[MARKET].waiting == 2
    await node.inspect([])  # another node's share
    assert node.archive_lags == {}
    assert raised == []
    await world.pass_ms(TERMINAL_KEPT_MS + HOLD_MS - DAY_MS)
    await node.inspect()
    assert raised == []
    await world.pass_ms(3 * DAY_MS)
    for _ in range(2):
        await node.inspect()
    assert raised == ["archive_behind"]
    assert any("the archive of phoenix is 384 h behind" in text for text in node.warnings)
    await world.pass_ms(DAY_MS)
    await node.inspect()
    assert raised == ["archive_behind"] * 2
    await node.close()
    await world.redis.flushall()


async def test_audit_tells_of_jobs_that_left(world: World, archive: Archive) -> None:
    await archive.register()
    await world.redis.hset(world.keys.key("archive"), "lost", 7)
    found = await audit(world.url, {MARKET: world.policy}, now_ms=world.clock)
    assert "7 jobs of phoenix left without being archived" in found.warnings


async def test_audit_warns_by_how_long_jobs_are_kept(world: World, archive: Archive) -> None:
    await archive.register()
    now_ms = (await world.redis.time())[0] * 1000
    await world.redis.zadd(world.keys.key("unarchived"), {"job_phoenix.old": now_ms - DAY_MS})
    policy = MarketPolicy(ended_kept_days=30)
    found = await audit(world.url, {MARKET: policy}, now_ms=world.clock)
    left_h = (29 * DAY_MS + HOLD_MS) // HOUR_MS
    assert any(
        f"the oldest in {hours} h" in text
        for text in found.warnings
        for hours in (left_h, left_h - 1)
    )
