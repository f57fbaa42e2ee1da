"""Garbage collection that does not stop the node in the middle of somebody's offer.

A full collection walks through every object that there is: 90 ms with 1,000 sockets, in which
nobody is served. Almost all of ours lives long (a socket, for hours) and dies by its reference
count, as no circles are left behind (`transport`, `http_transport`). So what has survived a second
is set aside, where the collector does not look again, and what it still looks at stays small.

Circles that were set aside by mistake must not stay for ever. Everything is looked at once no
socket is open, and when memory has grown by a quarter and 64 MiB since the last time: so circles
never hold more than that, and a node that does not grow never pauses.
"""

import asyncio
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

_EVERY_S: Final = 1.0
_WEIGH_EVERY_S: Final = 60.0
_GROWTH_SHARE: Final = 0.25
_GROWTH_BYTES: Final = 64 << 20
_MEMORY: Final = Path("/proc/self/statm")
# The two younger generations: what has come since the last time.
_YOUNG: Final = 1


def collect_and_freeze() -> None:
    """Collect, and look no more at what is left."""
    gc.collect()
    gc.freeze()


def memory_bytes() -> int:
    """The resident memory of this process; its peak on a platform that does not tell."""
    try:
        return int(_MEMORY.read_bytes().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def tune_gc(sockets: Callable[[], int]) -> None:
    """Set aside what lives on, once a second, until cancelled. `sockets`: how many are open."""
    clock = asyncio.get_running_loop().time
    were_open = 0
    looked_at_bytes, weigh_s = memory_bytes(), clock() + _WEIGH_EVERY_S
    while True:
        await asyncio.sleep(_EVERY_S)
        are_open = sockets()
        has_grown = False
        if clock() >= weigh_s:
            weigh_s = clock() + _WEIGH_EVERY_S
            has_grown = memory_bytes() > looked_at_bytes * (1 + _GROWTH_SHARE) + _GROWTH_BYTES
        if has_grown or (were_open and not are_open):
            gc.unfreeze()
            collect_and_freeze()
            looked_at_bytes = memory_bytes()
        else:
            gc.collect(_YOUNG)
            gc.freeze()
        were_open = are_open
