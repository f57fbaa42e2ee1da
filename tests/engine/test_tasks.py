"""Background tasks end before `cancel` returns; periodic ones share their moments."""

import asyncio
from functools import partial
from itertools import pairwise

import pytest

from mallard_engine import tasks as tasks_module
from mallard_engine.simulation.virtual.loop import VirtualLoop
from mallard_engine.tasks import (
    cancel,
    cooperative,
    in_full,
    in_parts,
    is_turn,
    move_turns,
    turn,
    without_end,
)
from tests.support import eventually


async def test_cancel_waits_for_cleanup_and_ignores_errors() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("cleaned up")

    async def fail() -> None:
        raise RuntimeError

    tasks = [asyncio.create_task(work()), asyncio.create_task(fail())]
    await asyncio.sleep(0)
    await cancel(*tasks, None)
    assert ended == ["cleaned up"]
    assert all(task.done() for task in tasks)


async def test_work_begins_again_after_an_error_until_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tasks_module, "_AGAIN_S", 0.0)
    begun: list[int] = []

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise RuntimeError("a fault")
        await asyncio.Event().wait()

    working = asyncio.create_task(without_end(work, "some work"))
    await eventually(lambda: len(begun) == 3)
    await cancel(working)
    assert working.cancelled()
    output = capfd.readouterr().out
    assert "some work" in output
    assert "RuntimeError: a fault" in output


async def test_cancel_without_tasks_returns() -> None:
    await cancel()
    await cancel(None)


async def test_closing_ends_before_its_cancelled_caller() -> None:
    ended: list[str] = []

    async def close() -> None:
        await asyncio.sleep(0.05)
        ended.append("closed")

    closing = asyncio.create_task(in_full(close()))
    await asyncio.sleep(0)
    await cancel(closing)
    assert ended == ["closed"]
    assert closing.cancelled()


async def test_parts_run_one_after_the_other() -> None:
    running: set[int] = set()
    most: list[int] = []

    async def work(number: int) -> None:
        running.add(number)
        await asyncio.sleep(0)
        most.append(len(running))
        running.discard(number)

    await in_parts([partial(work, number) for number in range(10)], 4)
    assert len(most) == 10
    assert max(most) == 4


async def test_failure_ends_the_parts() -> None:
    begun: list[int] = []

    async def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_parts([partial(work, number) for number in range(10)], 4)
    assert begun == [0, 1, 2, 3]


async def test_other_tasks_run_during_a_long_loop() -> None:
    done: list[int] = []
    seen: list[int] = []

    async def watch() -> None:
        while len(done) < 10:
            seen.append(len(done))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    async for number in cooperative(range(10), 4):
        done += [number]
    await watching
    assert done == [*range(10)]
    assert seen == [4, 8]


def test_periodic_tasks_run_at_the_same_moments() -> None:
    """Whatever their work takes; a turn that would follow at once is left out."""
    moments: dict[str, list[float]] = {}

    async def repeat(name: str, interval_s: float, takes_s: float) -> None:
        loop = asyncio.get_running_loop()
        times = moments[name] = []
        for _ in range(3):
            times.append(round(loop.time(), 3))
            await asyncio.sleep(takes_s)
            await turn(interval_s)

    async def all_of_them() -> None:
        await turn(0.5)
        await asyncio.gather(
            repeat("quick", 0.5, 0.0), repeat("slow", 1.0, 0.7), repeat("late", 0.5, 0.49)
        )

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(all_of_them())
    assert moments == {"quick": [0.5, 1.0, 1.5], "slow": [0.5, 2.0, 3.0], "late": [0.5, 1.5, 2.5]}


def test_first_of_a_moment_ends_before_the_others() -> None:
    ended: list[str] = []

    async def wait(name: str, interval_s: float, *, first: bool = False) -> None:
        await turn(interval_s, first=first)
        ended.append(name)

    async def all_of_them() -> None:
        gone = asyncio.create_task(wait("cancelled", 1.0))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(wait("late", 1.0), wait("soon", 0.5), wait("first", 1.0, first=True))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(all_of_them())
    assert ended == ["soon", "first", "late"]


def test_turn_is_known_a_quarter_of_its_interval_before_and_after() -> None:
    async def seen() -> list[bool]:
        await turn(1.0)
        found = []
        for _ in range(8):
            found.append(is_turn(1.0))
            await asyncio.sleep(0.2)
        return found

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        found = runner.run(seen())
    assert found == [True, True, False, False, True, True, True, False]


def test_turns_move_to_the_seconds_of_a_clock_and_back() -> None:
    """Within five seconds, while no pause grows by more than 2 ms."""
    own_s, clock_is_ahead_s = 0.3, 0.45
    moments: list[float] = []

    async def follow(clock_is_ahead_s: float | None) -> float:
        """Return how long after a full second the turns are after five seconds."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + 5.0
        while loop.time() < ends_s:
            await turn(0.5)
            moments.append(loop.time())
            ahead_s = clock_is_ahead_s
            move_turns(None if ahead_s is None else loop.time() + ahead_s)
        second_s = moments[-1 if is_turn(1.0) else -2]
        return round((second_s + (clock_is_ahead_s or 0.0)) % 1.0, 6) % 1.0

    async def all_of_it() -> list[float]:
        await asyncio.sleep(own_s)
        await turn(0.5)
        # The same clock, once read a little too late, and once after it was set back a little.
        clocks = (clock_is_ahead_s, clock_is_ahead_s - 0.005, clock_is_ahead_s - 0.011, None)
        return [await follow(clock) for clock in clocks]

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(all_of_it()) == [0.0, 0.995, 0.993, own_s]
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert min(pauses) >= 0.4 - 1e-6
    assert max(pauses) <= 0.502 + 1e-6


async def test_turns_that_nothing_has_waited_for_do_not_move() -> None:
    move_turns(0.0)
    assert is_turn(1.0)
