"""Wakes an event loop with a precision of some tens of microseconds.

`call_later` has a precision of a millisecond (the unit of epoll and libuv), which is as long as the
measured latencies. On Linux a timerfd wakes the loop; elsewhere `call_later` is used.
"""

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Final

_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC if sys.platform == "linux" else 0
_NS_PER_S: Final = 1_000_000_000


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _TimeSpec), ("first", _TimeSpec))


class PreciseTimer:
    """Calls `fired` once at each moment that `set` names, which replaces the one before.

    Moments are seconds of `time.monotonic`. Use it in a running loop, and `close` it.
    """

    def __init__(self, fired: Callable[[], None]) -> None:
        self._fired = fired
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = -1
        if hasattr(self._libc, "timerfd_create"):
            self._file = self._libc.timerfd_create(_MONOTONIC, _FLAGS)
        if self._file >= 0:
            self._loop.add_reader(self._file, self._read)

    def set(self, at_s: float) -> None:
        """Fire at this moment; at once if it has passed."""
        if self._file < 0:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_later(max(0.0, at_s - time.monotonic()), self._fired)
            return
        # A time of zero would disarm the timer.
        first = _TimeSpec(*divmod(max(1, round(at_s * _NS_PER_S)), _NS_PER_S))
        spec = _TimerSpec(_TimeSpec(0, 0), first)
        if self._libc.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(spec), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        """Cancel the timer."""
        if self._handle is not None:
            self._handle.cancel()
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):  # set again after it fired
            os.read(self._file, 8)
            self._fired()
