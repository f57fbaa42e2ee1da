"""Ends background tasks, and times periodic ones."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

import structlog

from mallard_engine.logs import RateLimitedLog

_often = RateLimitedLog(structlog.get_logger(__name__), interval_s=10.0)

_T = TypeVar("_T")
# A turn that is closer than this share of the interval is left out.
_LEAST_REST: Final = 0.25
# Turns move by at most this much earlier or later at once: a pause between two grows hardly.
_EARLIER_S: Final = 0.1
_LATER_S: Final = 0.002
# Turns that are too early by less than this move later, not earlier by nearly a second.
_NEAR_S: Final = 0.02
# Turns this close stay, as those who wait for different moments are apart while turns move. What is
# known of another process's clock is wrong by some milliseconds.
_CLOSE_S: Final = 0.008
# How long work that has failed waits before it begins again.
_AGAIN_S: Final = 1.0


@dataclass(slots=True)
class _Turns:
    """The turns of an event loop.

    Attributes:
        first_s: When the first one was asked for.
        start_s: Turns are multiples of their intervals since then.
        waiting: By moment: who waits for it, and whether it comes first.
    """

    first_s: float
    start_s: float = field(init=False)
    waiting: dict[float, dict[asyncio.Future[None], bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start_s = self.first_s


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended; their errors are not raised. None is no task."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def without_end(work: Callable[[], Awaitable[None]], name: str) -> None:
    """Do what must not end until it is cancelled: after an error, which is logged, it begins again.

    For the loops of a node, each of which the others need: without the one that reads pushes, for
    example, no driver hears of an offer of another node.
    """
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - see above
            _often.error("work failed, and begins again", work=name, example={"exc_info": error})
        await asyncio.sleep(_AGAIN_S)


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


def turn(interval_s: float, *, first: bool = False) -> asyncio.Future[None]:
    """Return a future of the next multiple of an interval since the first turn of this event loop.

    Periodic work that awaits its turns runs at the same moments, whatever each of it takes: one
    timer ends all that wait for a moment. Their calls share a write to Redis (see `Link`), and wake
    this process and Redis once. Each process has moments of its own, unless it shares them with
    others (`move_turns`).

    Args:
        interval_s: the interval.
        first: this future ends before those of the same moment.
    """
    loop = asyncio.get_running_loop()
    turns = _turns.setdefault(loop, _Turns(loop.time()))
    number = int((loop.time() - turns.start_s) / interval_s + _LEAST_REST) + 1
    due_s = turns.start_s + number * interval_s
    if due_s not in turns.waiting:
        turns.waiting[due_s] = {}
        loop.call_at(due_s, _begin, turns, due_s)
    future: asyncio.Future[None] = loop.create_future()
    waiting = turns.waiting[due_s]
    waiting[future] = first
    # One that is cancelled would keep the event loop alive.
    future.add_done_callback(lambda ended: waiting.pop(ended, None))
    return future


def move_turns(clock_s: float | None) -> None:
    """Move the turns of this event loop a little towards the full seconds of a clock.

    Called twice a second, it brings them there within five seconds. A pause between two turns gets
    shorter by up to 0.1 s meanwhile, or longer by 2 ms.

    Args:
        clock_s: what the clock shows now; None: move towards the moments of this process's own.
    """
    loop = asyncio.get_running_loop()
    if (turns := _turns.get(loop)) is None:
        return
    aim_s = turns.first_s if clock_s is None else loop.time() - clock_s
    late_s = (turns.start_s - aim_s + _NEAR_S) % 1.0 - _NEAR_S
    if abs(late_s) > _CLOSE_S:
        turns.start_s -= max(-_LATER_S, min(late_s, _EARLIER_S))


def is_turn(interval_s: float) -> bool:
    """Return whether the nearest multiple of an interval is at most a quarter of it away."""
    loop = asyncio.get_running_loop()
    start_s = _turns[loop].start_s if loop in _turns else loop.time()
    return ((loop.time() - start_s) / interval_s + _LEAST_REST) % 1 <= 2 * _LEAST_REST


def _begin(turns: _Turns, due_s: float) -> None:
    waiting = turns.waiting.pop(due_s)
    for future in sorted(waiting, key=lambda it: not waiting[it]):
        if not future.done():
            future.set_result(None)
