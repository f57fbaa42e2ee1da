"""An event loop with a virtual clock: a day passes as fast as its events can be computed.

Ready callbacks run first; then the calls of this turn are exchanged with the store. The clock jumps
to the next timer only when nothing is ready or outstanding. Calls therefore take no virtual time,
and the order of events depends on the program alone.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

# Ten microseconds: finer than any timer of the engine, coarser than float errors over a year.
_RESOLUTION_S = 1e-5


class Stalled(RuntimeError):
    """A task waits although no timer, callback or call is left."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose time starts at 0 s.

    `exchange` does its only I/O: it sends and receives, blocking, at the end of a turn and returns
    whether there was anything to exchange.
    """

    def __init__(self) -> None:
        self._virtual_s = 0.0
        self.exchange: Callable[[], bool] | None = None
        super().__init__(_Turns(self))
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """Return the virtual time in seconds since the start."""
        return self._virtual_s

    def end_turn(self, timeout: float | None) -> None:
        """End a turn; `timeout` is the time to the next timer. Raises `Stalled` without one."""
        if self.exchange is not None and self.exchange():
            return
        if timeout is None:
            raise Stalled("a task waits although nothing is left to happen")
        self._virtual_s += timeout


class _Turns(selectors.BaseSelector):
    """Ends a turn where a selector would wait for sockets."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.end_turn(timeout)
        return []

    # The loop registers its own wake-up pipe, which is not needed here.

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys
