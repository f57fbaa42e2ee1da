"""Tunes the garbage collector so that a full collection does not delay offers.

A full collection scans every object: 90 ms with 1,000 sockets, during which nothing is served.
Almost all objects live long (a socket for hours) and are freed by their reference count, because
the protocols break their cycles (`socket.protocol`, `http.transport.protocol`). So objects that
survive a second are frozen (`gc.freeze`): the collector ignores them, and the rest stays small.

Frozen cycles must not leak. A full collection runs when the last socket has closed, and when memory
has grown by a quarter plus 64 MiB since the last one. So cycles never hold more than that, and a
node that does not grow never pauses.

glibc keeps the memory of a burst of clients for the next one, which may never come. So a node that
was busy or has grown returns it to the system once it is calm.
"""

import asyncio
import contextlib
import ctypes
import gc
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_EVERY_S: Final = 1.0
_MEASURE_EVERY_S: Final = 60.0
_GROWTH_SHARE: Final = 0.25
_GROWTH_BYTES: Final = 64 << 20
_MEMORY: Final = Path("/proc/self/statm")
# A busy node does not release memory: it costs 0.2 ms a MiB, and the memory would be needed again.
_BUSY_SHARE: Final = 0.5  # of a core
_CALM_FOR_S: Final = 3.0
_RELEASE_EVERY_S: Final = 10.0
_RELEASE_GROWTH_BYTES: Final = 4 << 20
# The two younger generations: objects created since the last freeze.
_YOUNG: Final = 1


def collect_and_freeze() -> None:
    """Run a full collection and freeze the remaining objects."""
    gc.collect()
    gc.freeze()


def memory_bytes() -> int:
    """Return the resident memory of this process; its peak on platforms without `/proc`."""
    try:
        return int(_MEMORY.read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def release_free_memory() -> None:
    """Return to the system what glibc keeps of freed memory; do nothing with other C libraries."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class MemoryRelease:
    """Releases free memory when the node is calm after a burst: it was busy, or it has grown.

    Args:
        clock: monotonic seconds.
        cpu_s: returns the CPU seconds that this process has used.
        memory: returns its resident bytes.
        release: returns free memory to the system.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.process_time,
        memory: Callable[[], int] = memory_bytes,
        release: Callable[[], None] = release_free_memory,
    ) -> None:
        self._clock = clock
        self._cpu_s = cpu_s
        self._memory = memory
        self._release = release
        self._last_s, self._last_cpu_s = clock(), cpu_s()
        self._was_busy = False
        self._calm_from_s = self._last_s + _CALM_FOR_S
        self._next_s = self._last_s + _RELEASE_EVERY_S
        self._kept_bytes = memory()

    def look(self) -> None:
        """Release memory if it is time to; called about once a second."""
        now_s, cpu_s = self._clock(), self._cpu_s()
        if cpu_s - self._last_cpu_s > (now_s - self._last_s) * _BUSY_SHARE:
            self._was_busy = True
            self._calm_from_s = now_s + _CALM_FOR_S
        self._last_s, self._last_cpu_s = now_s, cpu_s
        if now_s < max(self._calm_from_s, self._next_s):
            return
        if self._was_busy or self._memory() >= self._kept_bytes + _RELEASE_GROWTH_BYTES:
            self._release()
            self._was_busy = False
            self._kept_bytes = self._memory()
            self._next_s = now_s + _RELEASE_EVERY_S


async def tune_gc(sockets: Callable[[], int]) -> None:
    """Freeze surviving objects once a second, until cancelled.

    Args:
        sockets: returns the number of open sockets.
    """
    clock = asyncio.get_running_loop().time
    free_memory = MemoryRelease()
    were_open = 0
    baseline_bytes, measure_s = memory_bytes(), clock() + _MEASURE_EVERY_S
    while True:
        await asyncio.sleep(_EVERY_S)
        are_open = sockets()
        has_grown = False
        if clock() >= measure_s:
            measure_s = clock() + _MEASURE_EVERY_S
            has_grown = memory_bytes() > baseline_bytes * (1 + _GROWTH_SHARE) + _GROWTH_BYTES
        if has_grown or (were_open and not are_open):
            gc.unfreeze()
            collect_and_freeze()
            baseline_bytes = memory_bytes()
        else:
            gc.collect(_YOUNG)
            gc.freeze()
        free_memory.look()
        were_open = are_open
