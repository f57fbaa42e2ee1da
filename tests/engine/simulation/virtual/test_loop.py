"""Virtual time: it jumps, in order, and never while something is ready."""

import asyncio
import time
from typing import Any

import pytest

from mallard_engine.ports import StoreUnavailable
from mallard_engine.simulation.virtual.client import TurnLink
from mallard_engine.simulation.virtual.clock import VirtualClock
from mallard_engine.simulation.virtual.loop import Stalled, VirtualLoop
from mallard_engine.storage.client.errors import LinkReplyError


def run(work: Any) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def test_year_passes_at_once() -> None:
    async def year() -> float:
        await asyncio.sleep(365 * 86_400)  # virtual: that it takes no time is what is tested
        return asyncio.get_running_loop().time()

    started = time.monotonic()
    assert run(year()) == pytest.approx(365 * 86_400)
    assert time.monotonic() - started < 60


def test_timers_come_in_order_and_at_their_time() -> None:
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, round(asyncio.get_running_loop().time(), 6)))

    async def all_of_them() -> None:
        await asyncio.gather(sleeper("c", 3.0), sleeper("a", 0.001), sleeper("b", 2.5))

    run(all_of_them())
    assert seen == [("a", 0.001), ("b", 2.5), ("c", 3.0)]


def test_clock_is_exact_to_the_millisecond() -> None:
    async def ticks() -> list[int]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        clock = VirtualClock(loop, 1_000_000)
        seen = []
        for at_ms in (1_000_001, 1_000_333, 1_086_400_000, 1_086_400_001):
            await clock.until(at_ms)
            seen.append(clock.now_ms())
        await clock.until(5)  # it has passed
        return seen

    assert run(ticks()) == [1_000_001, 1_000_333, 1_086_400_000, 1_086_400_001]


def test_waiting_without_timers_raises_stalled() -> None:
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stalled):
        run(forever())


def test_calls_of_one_turn_share_a_write_and_take_no_time(redis_url: str) -> None:
    async def calls() -> tuple[list[Any], float]:
        link = TurnLink(redis_url)
        await link.connect()
        replies = await asyncio.gather(*(link.call("INCR", "n") for _ in range(50)))
        with pytest.raises(LinkReplyError):
            await link.call("NO-SUCH-COMMAND")
        await link.close()
        assert not link.connected
        with pytest.raises(StoreUnavailable):
            await link.call("PING")
        return replies, asyncio.get_running_loop().time()

    assert run(calls()) == (list(range(1, 51)), 0.0)


def test_known_reply_comes_with_those_of_its_turn(redis_url: str) -> None:
    async def calls() -> tuple[list[str], int]:
        link = TurnLink(redis_url)
        await link.connect()
        before, seen = link.calls, []

        async def ask(name: str, *, of_store: bool) -> None:
            said = await (link.call("ECHO", name) if of_store else link.answer(name.encode()))
            seen.append(said.decode())

        await asyncio.gather(*(ask(str(n), of_store=n % 2 == 0) for n in range(6)))
        await ask("alone", of_store=False)
        await link.close()
        return seen, link.calls - before

    assert run(calls()) == ([*map(str, range(6)), "alone"], 3)


def test_watched_replies_are_valid_until_the_next_call(redis_url: str) -> None:
    async def calls() -> list[list[Any] | None]:
        link = TurnLink(redis_url)
        await link.connect()
        link.watch(("GET", "watched"))
        known = [link.seen()]
        for value in ("1", "2"):
            await link.call("SET", "watched", value)
            known.append(link.seen())
        asked = asyncio.create_task(link.call("PING"))
        await asyncio.sleep(0)
        known.append(link.seen())  # it has not been sent yet
        await link.answer(None)
        known.append(link.seen())
        await asked
        await link.call("DEL", "watched")
        await link.close()
        return known

    assert run(calls()) == [None, [b"1"], [b"2"], None, [b"2"]]


def test_missing_store_raises() -> None:
    async def connect() -> None:
        await TurnLink("redis://127.0.0.1:1").connect()

    with pytest.raises(StoreUnavailable):
        run(connect())


async def test_connection_needs_a_virtual_loop(redis_url: str) -> None:
    with pytest.raises(TypeError):
        await TurnLink(redis_url).connect()
