"""Tunes the garbage collector so that a full collection does not delay offers.

A full collection scans every object: 90 ms with 1,000 sockets, during which nothing is served.
Almost all objects live long (a socket for hours) and are freed by their reference count, because
the protocols break their cycles (`socket.protocol`, `http.transport.protocol`). So objects that
survive a second are frozen (`gc.freeze`): the collector ignores them, and the rest stays small.

Frozen cycles must not leak. A full collection runs when the last socket has closed, and when memory
has grown by a quarter plus 64 MiB since the last one. So cycles never hold more than that, and a
node that does not grow never pauses.
"""

import asyncio
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

_EVERY_S: Final = 1.0
_MEASURE_EVERY_S: Final = 60.0
_GROWTH_SHARE: Final = 0.25
_GROWTH_BYTES: Final = 64 << 20
_MEMORY: Final = Path("/proc/self/statm")
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


async def tune_gc(sockets: Callable[[], int]) -> None:
    """Freeze surviving objects once a second, until cancelled.

    Args:
        sockets: returns the number of open sockets.
    """
    clock = asyncio.get_running_loop().time
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
        were_open = are_open
