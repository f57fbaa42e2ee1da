"""What tests share: waiting for a condition instead of sleeping, and ports."""

import asyncio
import contextlib
import inspect
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar, overload

T = TypeVar("T")
# How long tests wait for what must come: far above what a busy machine needs that stands still for
# seconds, and below the two minutes of a test. It only bounds a test that fails.
GUARD_S = 50.0
_POLL_S = 0.01
# For how long a Redis may be silent, as arguments of `Link`. With a node's own limit, calls are
# refused if Redis gets no processor for 0.8 s.
PATIENCE = {"silence_s": 20.0, "deadline_s": 20.0}


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
    """Measures for how long this process, and those that it started, get no processor.

    A busy machine may take the processor away for seconds: that late is every timer of a process,
    and each answer of a node or of Redis. Tests of how late something is add `ms`. What a process
    itself computes meanwhile is no excuse: an engine that keeps its own loop from running is late.
    """

    def __init__(self) -> None:
        self._own_ms = 0.0
        self._before_ms = waited_ms()

    @property
    def ms(self) -> float:
        """Milliseconds so far."""
        waited = sum(
            max(0.0, ms - self._before_ms.get(pid, 0.0)) for pid, ms in waited_ms().items()
        )
        return self._own_ms + waited

    async def watch(self) -> None:
        """Measure until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due_s, before_s = clock() + _POLL_S, time.process_time()
            await asyncio.sleep(_POLL_S)
            late_s = clock() - due_s - (time.process_time() - before_s)
            if late_s > _POLL_S:
                self._own_ms += late_s * 1000


def waited_ms() -> dict[int, float]:
    """Return how long each process that descends from this one has waited for a processor."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            # The name, in brackets, may contain spaces and brackets.
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
    waited: dict[int, float] = {}
    for pid in parents:
        above = pid
        while (above := parents.get(above, 0)) and above != os.getpid():
            pass
        if above:
            with contextlib.suppress(OSError):
                # Time on a processor, time of waiting for one (ns), number of turns.
                waited[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e6
    return waited


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
