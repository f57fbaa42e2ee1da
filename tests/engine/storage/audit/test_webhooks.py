"""The rules `webhook` and `archive`, and a random walk over endpoints that finds planted bugs."""

import random
from collections.abc import Awaitable, Callable, Iterable

import pytest

from mallard_engine.core.event_ids import Place
from mallard_engine.core.market_events import MarketEvent
from mallard_engine.ports import Attempt, NoSuchWebhook
from mallard_engine.storage.archive_queue import ArchiveQueue
from mallard_engine.storage.keys import WEBHOOKS
from mallard_protocol.lifecycle import JobState
from tests.engine.storage.webhook_endpoints import endpoint
from tests.engine.storage.worlds import HOUR_MS, MARKET, World
from tests.properties.planted.planting import with_bug

HOLD_MS = 20_000
NAMES = ("wh_1", "wh_2", "wh_3")


class Walk:
    """A random walk over the calls of endpoints, and what each must have waiting."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._port = world.store.webhooks
        self._draw = random.Random(seed)
        # By endpoint: what waits, and until when it is postponed; None: it is disabled.
        self.waiting: dict[str, dict[str, int] | None] = {}
        self._events = 0

    async def step(self) -> None:
        """Do something, and compare."""
        often = (self.queue, self.queue, self.take, self.take, self.create, self.late)
        await self._draw.choice((*often, self.repeat, self.disable, self.enable, self.delete))()
        await self.compare()

    async def create(self) -> None:
        if name := self._one(set(NAMES) - set(self.waiting)):
            await self._port.create(endpoint(name))
            self.waiting[name] = {}

    async def queue(self, *, twice: bool = False) -> None:
        """Queue a new event for all; a node that repeats the step is refused."""
        self._events += 1
        event = self._event()
        known, was = await self._port.all(), await self._port.position(MARKET)
        wanted = {name: [0] for name in known.by_id}
        step = (MARKET, (was, event.place), [event], wanted, known.version)
        assert await self._port.queue(*step) == "ok"
        for waiting in self.waiting.values():
            if waiting is not None:
                waiting[str(event.place)] = self._world.now
        if twice:
            await self.take()
            assert await self._port.queue(*step) == "moved"

    async def repeat(self) -> None:
        await self.queue(twice=True)

    async def take(self) -> None:
        """Take all that is due, and settle some of it."""
        due = await self._port.take(dict.fromkeys(self.waiting, 100), 1_000, HOLD_MS)
        now = self._world.now
        expected = {
            (name, place)
            for name, waiting in self.waiting.items()
            for place, at_ms in (waiting or {}).items()
            if at_ms <= now
        }
        assert {(it.endpoint, str(it.event.place)) for it in due} == expected
        for it in due:
            waiting = self.waiting[it.endpoint]
            assert waiting is not None
            place = str(it.event.place)
            waiting[place] = now + HOLD_MS
            outcome = self._draw.choice(["delivered", "failed", "", "delivered"])
            if not outcome:
                continue  # its node has died
            next_ms = now + 5_000 if outcome == "failed" else None
            said = Attempt("evt", "job.proof", 1, now, 5, outcome, status=500, next_ms=next_ms)
            await self._port.settle(it, said, is_gone=False)
            if outcome == "failed":
                waiting[place] = now + 5_000
            else:
                del waiting[place]
                # The word of another node that had it as well comes too late.
                said = Attempt("evt", "job.proof", 1, now, 5, "failed", next_ms=now + 1)
                await self._port.settle(it, said, is_gone=False)

    async def late(self) -> None:
        """Time passes; a settlement that comes after its endpoint was deleted changes nothing."""
        due = await self._port.take(dict.fromkeys(self.waiting, 100), 1_000, HOLD_MS)
        for it in due:
            waiting = self.waiting[it.endpoint]
            assert waiting is not None
            waiting[str(it.event.place)] = self._world.now + HOLD_MS
        await self._world.pass_ms(self._draw.choice([1, 6_000, 21_000]))

    async def disable(self) -> None:
        if name := self._one(self.waiting):
            await self._port.disable(name, "owner")
            self.waiting[name] = None

    async def enable(self) -> None:
        if name := self._one([it for it, waiting in self.waiting.items() if waiting is None]):
            was = await self._port.get(name)
            assert await self._port.update(was, was, enable=True)
            self.waiting[name] = {}

    async def delete(self) -> None:
        if name := self._one(self.waiting):
            await self._port.delete(await self._port.get(name))
            del self.waiting[name]
            with pytest.raises(NoSuchWebhook):
                await self._port.get(name)

    async def compare(self) -> None:
        for name, waiting in self.waiting.items():
            seen = await self._port.get(name)
            assert (seen.disabled is None) == (waiting is not None)
            stored = await self._world.redis.hkeys(f"{WEBHOOKS}waiting:{name}")
            assert {it.decode() for it in stored} == {f"{MARKET}/{it}" for it in waiting or ()}
            assert seen.waiting == len(waiting or ())
        if not self._events % 3:
            assert [it for it in await self._world.breaches() if it.market == "-"] == []

    def _one(self, names: Iterable[str]) -> str:
        known = sorted(names)
        return str(self._draw.choice(known)) if known else ""

    def _event(self) -> MarketEvent:
        place = Place(self._world.now, self._events)
        fields = {"kind": "proof", "what": "photo", "at": self._world.now, "job": "j"}
        return MarketEvent(MARKET, place, self._world.now, "proof", "photo", "j", fields=fields)


async def walk(world: World, seeds: range, steps: int = 40) -> None:
    for seed in seeds:
        it = Walk(world, seed)
        for _ in range(steps):
            await it.step()
        for name in list(it.waiting):
            await world.store.webhooks.delete(await world.store.webhooks.get(name))


async def test_random_walk_over_endpoints_agrees_with_its_model(world: World) -> None:
    await walk(world, range(3))


PLANTED_BUGS = [
    ("webhook_settle", "    redis.call('HDEL', key('waiting:' .. it.id), it.name)\n", ""),
    ("webhook_settle", "    redis.call('ZREM', from, it.name)\n", ""),
    (
        "webhook_settle",
        "  if not redis.call('ZSCORE', from, it.name) then return '' end\n",
        "",
    ),
    ("webhook_queue", "~= arg.was then", "== '?' then"),
    ("webhook_queue", "  if is_enabled(each[1]) then", "  if true then"),
    ("webhook_take", "      redis.call('ZADD', from, now + arg.hold_ms, name)\n", ""),
    ("webhook_disable", "{ now, reason, drop_waiting(endpoint) }", "{ now, reason, 0 }"),
    ("webhook_drop", "'since', 'disabled'", "'disabled'"),
    ("webhook_drop", "drop_waiting(arg.id)\n", ""),
    ("webhook_put", "  redis.call('HINCRBY', key('owned'), arg.owner, 1)\n", ""),
    ("webhook_put", "  redis.call('HDEL', key('disabled'), arg.id)\n", ""),
]


@pytest.mark.parametrize(("script", "old", "new"), PLANTED_BUGS)
async def test_walk_finds_a_planted_bug(planted: World, script: str, old: str, new: str) -> None:
    planted.store.runner.scripts = with_bug(script, [(old, new)])
    planted.link.learn(planted.store.runner.scripts)
    with pytest.raises((AssertionError, NoSuchWebhook)):
        await walk(planted, range(8))


def key(name: str) -> str:
    return f"{WEBHOOKS}{name}"


Wrong = Callable[[World], Awaitable[object]]
WRONG: list[tuple[str, str, Wrong]] = [
    ("webhook", "never fall due", lambda w: w.redis.hset(key("waiting:wh_1"), "phoenix/1-1", b"e")),
    ("webhook", "have no event", lambda w: w.redis.zadd(key("queue:wh_1"), {"phoenix/1-1": 1})),
    ("leak", "tries of 1", lambda w: w.redis.hset(key("tries:wh_1"), "phoenix/1-1", "1 1")),
    ("webhook", "since when", lambda w: w.redis.hdel(key("since"), "wh_1")),
    ("webhook", "are counted", lambda w: w.redis.hincrby(key("owned"), "orders/toys", 1)),
    ("leak", "left of it", lambda w: w.redis.set(key("log:wh_9"), "x")),
    ("leak", "left of it", lambda w: w.redis.hset(key("replays"), "wh_9/phoenix", "1 2")),
    ("leak", "left of it", lambda w: w.redis.hset(key("behind"), "wh_9/phoenix", "1-1")),
]


@pytest.mark.parametrize(("rule", "said", "plant"), WRONG)
async def test_wrong_record_of_an_endpoint_is_named(
    planted: World, rule: str, said: str, plant: Wrong
) -> None:
    await planted.store.webhooks.create(endpoint("wh_1"))
    assert await planted.breaches() == ()
    await plant(planted)
    (breach,) = await planted.breaches()
    assert (breach.rule, breach.market) == (rule, "-")
    assert said in breach.what


async def archived(world: World) -> tuple[ArchiveQueue, str]:
    queue = ArchiveQueue(world.store.runner)
    await queue.register(MARKET, HOUR_MS)
    ref, _ = await world.in_state(JobState.CANCELLED)
    assert [it for it, _ in await queue.waiting(MARKET, 10)] == [ref.job]
    assert await world.breaches() == ()
    return queue, ref.job


async def test_open_job_that_waits_for_the_archive_is_named(planted: World) -> None:
    await archived(planted)
    ref = await planted.submit()
    await planted.redis.zadd(planted.keys.key("unarchived"), {ref.job: planted.now})
    (breach,) = await planted.breaches()
    assert (breach.rule, breach.kind, breach.id) == ("archive", "unarchived", ref.job)


async def test_job_that_leaves_before_it_is_archived_is_named(planted: World) -> None:
    _, job = await archived(planted)
    await planted.redis.pexpire(planted.keys.job(job), HOUR_MS)
    (breach,) = await planted.breaches()
    assert breach.rule == "archive"
    assert "early" in breach.what


async def test_job_that_waits_for_no_archive_is_named(planted: World) -> None:
    await archived(planted)
    await planted.redis.hdel(planted.keys.key("archive"), "hold_ms")
    (breach,) = await planted.breaches()
    assert "the market has none" in breach.what
