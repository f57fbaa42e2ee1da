"""Background tasks end before `cancel` returns; periodic ones share their moments."""

import asyncio
from functools import partial

import pytest

from mallard_engine.simulation.virtual.loop import VirtualLoop
from mallard_engine.tasks import cancel, cooperative, in_full, in_parts, is_turn, turn


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
