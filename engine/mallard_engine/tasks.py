"""Ends background tasks, and times periodic ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

_T = TypeVar("_T")
# A turn that is closer than this share of the interval is left out.
_LEAST_REST: Final = 0.25
# By event loop: when its first turn was asked for.
_starts: WeakKeyDictionary[asyncio.AbstractEventLoop, float] = WeakKeyDictionary()


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended; their errors are not raised. None is no task."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def in_full(work: Coroutine[Any, Any, None]) -> None:
    """Wait until work has ended, also if the caller is cancelled meanwhile: it then ends after it.

    For closing connections, of which a cancellation in between would leave some open.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def in_parts(calls: Sequence[Callable[[], Awaitable[object]]], most: int) -> None:
    """Call and await in parts of at most `most`; other tasks run between the parts.

    If a call fails, its error is raised, and later parts are not called.
    """
    for first in range(0, len(calls), most):
        await asyncio.gather(*[call() for call in calls[first : first + most]])


async def cooperative(items: Iterable[_T], every: int) -> AsyncIterator[_T]:
    """Iterate over items, and let other tasks run after each `every` of them.

    For a loop that awaits nothing and may take many milliseconds.
    """
    for number, item in enumerate(items):
        if number and not number % every:
            await asyncio.sleep(0)
        yield item


async def turn(interval_s: float) -> None:
    """Sleep until the next multiple of an interval since the first call on this event loop.

    Periodic tasks that await their turns run at the same moments, whatever each of them takes:
    their calls share a write to Redis, and wake this process and Redis once. Each process
    has moments of its own.
    """
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    start_s = _starts.setdefault(loop, now_s)
    turns = int((now_s - start_s) / interval_s + _LEAST_REST) + 1
    await asyncio.sleep(start_s + turns * interval_s - now_s)
