"""The role of the robots: one node at a time, and what happens when Redis is away."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import StoreUnavailable
from mallard_engine.sandbox import service
from mallard_engine.sandbox.service import RobotService
from mallard_engine.storage.redis_storage import RedisStorage
from tests.support import eventually


class Roles:
    """Roles in memory; `away`: Redis cannot be reached."""

    def __init__(self) -> None:
        self.holder = ""
        self.away = False
        self.asked = 0

    async def hold_role(self, _market: str, _role: str, node: str, ttl_ms: int) -> bool:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("away")
        if self.holder not in {"", node}:
            return False
        self.holder = node if ttl_ms else ""
        return bool(ttl_ms)


class Work:
    """Counts how often the robots start; `fail` ends them."""

    def __init__(self) -> None:
        self.started = 0
        self.running = 0
        self.fail = asyncio.Event()

    async def __call__(self, url: str) -> None:
        assert url == "http://here"
        self.started += 1
        self.running += 1
        try:
            await self.fail.wait()
            self.fail.clear()
            raise RuntimeError("the shops failed")
        finally:
            self.running -= 1


@pytest.fixture
def roles(monkeypatch: pytest.MonkeyPatch) -> Roles:
    monkeypatch.setattr(service, "_RENEW_S", 0.01)
    return Roles()


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def robots(roles: Roles, work: Work) -> AsyncIterator[RobotService]:
    robots = RobotService(roles, "n1", work)  # type: ignore[arg-type]
    robots.start("http://here")
    yield robots
    await robots.stop()
    assert work.running == 0


async def test_robots_work_while_the_node_has_the_role(
    roles: Roles, work: Work, robots: RobotService
) -> None:
    await eventually(lambda: robots.is_working and work.running == 1)
    roles.holder = "n2"
    await eventually(lambda: not robots.is_working and work.running == 0)
    roles.holder = ""
    await eventually(lambda: work.running == 1)
    await robots.stop()
    assert roles.holder == ""


async def test_robots_that_fail_start_again(work: Work, robots: RobotService) -> None:
    await eventually(lambda: robots.is_working and work.running == 1)
    work.fail.set()
    await eventually(lambda: work.started == 2 and robots.is_working)


async def test_role_lasts_as_long_as_it_was_granted(
    roles: Roles, work: Work, robots: RobotService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def renew(times: int) -> None:
        asked = roles.asked
        await eventually(lambda: roles.asked > asked + times)

    monkeypatch.setattr(service, "ROLE_TTL_MS", 600_000)
    await eventually(lambda: work.running == 1)
    await renew(2)
    roles.away = True
    await renew(2)
    assert robots.is_working  # an outage that is shorter than the role
    assert work.started == 1
    roles.away = False
    monkeypatch.setattr(service, "ROLE_TTL_MS", 1)
    await renew(2)
    roles.away = True
    await eventually(lambda: not robots.is_working and work.running == 0)


async def test_role_has_one_node_until_it_ends(redis_url: str) -> None:
    store = RedisStorage(redis_url, {"sandbox": MarketPolicy()})
    await store.connect()
    try:
        hold = store.leases.hold_role
        assert await hold("sandbox", "robots", "n1", 60_000)
        assert not await hold("sandbox", "robots", "n2", 60_000)
        assert not await hold("sandbox", "robots", "n2", 0)  # not its own to give up
        assert await hold("sandbox", "robots", "n1", 60_000)
        assert not await hold("sandbox", "robots", "n1", 0)
        assert await hold("sandbox", "robots", "n2", 1)

        async def is_free() -> bool:
            return await hold("sandbox", "robots", "n1", 60_000)

        await eventually(is_free)
    finally:
        await store.close()
