"""What tests share: waiting for a condition instead of sleeping, and ports."""

import asyncio
import contextlib
import inspect
import random
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")
# How long tests wait for what must come: far above what a busy machine needs that stands still for
# seconds, and below the two minutes of a test. It only bounds a test that fails.
GUARD_S = 50.0
_POLL_S = 0.01


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout_s: float = ...) -> T: ...
async def eventually(condition: Callable[[], Any], timeout_s: float = GUARD_S) -> Any:
    """Poll `condition`, plain or async, until it holds, and return what it gave."""
    deadline = time.monotonic() + timeout_s
    while True:
        outcome = condition()
        value = await outcome if inspect.isawaitable(outcome) else outcome
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"not within {timeout_s:g} s: {condition!r} gave {value!r}"
            raise AssertionError(message)
        await asyncio.sleep(_POLL_S)


class Standstill:
    """Measures for how long the process gets no processor: that late is every timer of it.

    A busy machine may take the processor away for seconds. Tests of how late a timer is add `ms`.
    What the process itself computes meanwhile is no excuse: an engine that keeps its own loop from
    running is late.
    """

    def __init__(self) -> None:
        self.ms = 0.0

    async def watch(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due_s, before_s = clock() + _POLL_S, time.process_time()
            await asyncio.sleep(_POLL_S)
            late_s = clock() - due_s - (time.process_time() - before_s)
            if late_s > _POLL_S:
                self.ms += late_s * 1000


def port_for_later() -> int:
    """Return a port for a program that cannot bind a free one itself.

    It is below the ports that the kernel gives out: one of those may be another test's before the
    program binds it.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """Run a call that must end without waiting, whatever the time that its process takes."""
    try:
        call.send(None)
    except StopIteration as ended:
        value: T = ended.value
        return value
    call.close()
    message = f"{call!r} waits"
    raise AssertionError(message)
