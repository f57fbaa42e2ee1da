"""An event loop whose clock is virtual: a day passes as fast as its events can be computed.

What is ready runs first; then what was asked of the store in this turn is exchanged with it; only
when nothing is ready and nothing is outstanding does the clock jump to the next timer. So no call
takes any virtual time, and the order of everything depends on the program alone.
"""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from typing import Any

# Ten microseconds: below what any timer of the engine asks for, above what floats lose in a year.
_RESOLUTION_S = 1e-5


class Stalled(RuntimeError):
    """Nothing is left that could ever happen, and yet somebody waits."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 s. There is no I/O in this loop but what its ``exchange`` does: a callback
    that sends and receives at the end of a turn, blocking; it says whether there was anything."""

    def __init__(self) -> None:
        self._virtual_s = 0.0
        self.exchange: Callable[[], bool] | None = None
        super().__init__(_Turns(self))
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """The virtual clock, in seconds since the start."""
        return self._virtual_s

    def end_turn(self, timeout: float | None) -> None:
        """Nothing more is ready (``timeout`` 0: something is). :raises Stalled:"""
        if self.exchange is not None and self.exchange():
            return
        if timeout is None:
            raise Stalled("nothing is left to happen, and somebody still waits for it")
        self._virtual_s += timeout


class _Turns(selectors.BaseSelector):
    """Where the loop would wait for sockets, it ends a turn."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop.end_turn(timeout)
        return []

    # The loop registers the end of its own wake-up pipe, which nobody needs here.

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[fileobj] = key = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys
