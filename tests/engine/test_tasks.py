"""Background tasks end before `cancel` returns."""

import asyncio

from mallard_engine.tasks import cancel


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
