"""Garbage collection that does not stop the node in the middle of somebody's offer.

A full collection walks through every object that there is: 90 ms with 1,000 sockets, in which
nobody is served. Almost all of ours lives long (a socket, for hours) and dies by its reference
count, as no circles are left behind (`transport`). So what has survived a second is set aside,
where the collector does not look again, and what it still looks at stays small. Once no socket is
open, everything is looked at, and circles that were set aside by mistake go.
"""

import asyncio
import gc
from collections.abc import Callable
from typing import Final

_EVERY_S: Final = 1.0
# The two younger generations: what has come since the last time.
_YOUNG: Final = 1


def set_aside() -> None:
    """Collect, and look no more at what is left."""
    gc.collect()
    gc.freeze()


async def keep_tidy(sockets: Callable[[], int]) -> None:
    """Set aside what lives on, once a second, until cancelled. `sockets`: how many are open."""
    were_open = 0
    while True:
        await asyncio.sleep(_EVERY_S)
        are_open = sockets()
        if were_open and not are_open:
            gc.unfreeze()
            set_aside()
        else:
            gc.collect(_YOUNG)
            gc.freeze()
        were_open = are_open
