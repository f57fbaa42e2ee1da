"""Waiting for the first of several awaitables, without leaking the others."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def first_of(*waits: Awaitable[object]) -> None:
    """Wait until one of these ends, and cancel the others. Raises its exception."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await _ended(tasks)


async def outcome_unless(
    work: Coroutine[Any, Any, T], interruption: Awaitable[object], *, discard: Callable[[T], object]
) -> T | None:
    """Return the outcome of `work`, or None if `interruption` ended first.

    `discard` receives an outcome that arrives during the cancellation.
    """
    working = asyncio.create_task(work)
    interrupting = asyncio.ensure_future(interruption)
    taken = False
    try:
        await asyncio.wait([working, interrupting], return_when=asyncio.FIRST_COMPLETED)
        taken = working.done()
        return working.result() if taken else None
    finally:
        await _ended([working, interrupting])
        if not taken and not working.cancelled() and working.exception() is None:
            discard(working.result())


async def _ended(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
