"""Limits the frames and bytes that a socket may send.

A frame is counted when it is handled. While the node holds a socket's input, because a message is
awaited, the frames of several seconds wait and are then handled at once, although the app sent them
in time. So time in which input is held refills the buckets beyond full: from its beginning the app
may have sent one burst and the rate, and no more than that is let through.
"""

from typing import Final

from mallard_protocol.codes import (
    RATE_BURST_BYTES,
    RATE_BYTES_PER_S,
    RATE_FRAMES_PER_S,
    RATE_WINDOW_S,
    STORE_DOWN_CLOSE_S,
)

_BURST_FRAMES: Final = RATE_FRAMES_PER_S * RATE_WINDOW_S
# The share of an allowance at which the app is warned, once per window.
_WARN: Final = 0.75
# The lowest levels while input is held. Without a store, sockets are closed after this time.
_LEAST_FRAMES: Final = -STORE_DOWN_CLOSE_S * RATE_FRAMES_PER_S
_LEAST_BYTES: Final = -STORE_DOWN_CLOSE_S * RATE_BYTES_PER_S
# Within this time the kernel passes on the input that it kept while reading was paused.
_KERNEL_INPUT_S: Final = 1.0


class FrameRate:
    """Two token buckets, one for frames and one for bytes."""

    __slots__ = ("_at_s", "_bytes", "_frames", "_kept_until_s", "_warned_s", "is_holding")

    def __init__(self) -> None:
        # Spent and not yet refilled; less than 0 while held input may come.
        self._frames = 0.0
        self._bytes = 0.0
        self._at_s = 0.0
        self._warned_s = -float(RATE_WINDOW_S)
        self.is_holding = False
        # Until when levels below 0 are kept.
        self._kept_until_s = 0.0

    def count(self, now_s: float, size: int) -> bool:
        """Count a frame of `size` bytes; return whether it exceeds a limit."""
        self._refill(now_s)
        self._frames += 1
        self._bytes += size
        return self._frames > _BURST_FRAMES or self._bytes > RATE_BURST_BYTES

    def hold(self, now_s: float) -> None:
        """Note that the input from now on waits in the node."""
        self._refill(now_s)
        self.is_holding = True

    def handled(self, now_s: float, *, is_all: bool) -> None:
        """Note that all input that was read has been handled.

        Args:
            now_s: the current time.
            is_all: whether the kernel has no more of the input that was held.
        """
        self._refill(now_s)
        self.is_holding = False
        if is_all:
            self._kept_until_s = 0.0
            self._frames, self._bytes = max(0.0, self._frames), max(0.0, self._bytes)
        else:
            self._kept_until_s = now_s + _KERNEL_INPUT_S

    def _refill(self, now_s: float) -> None:
        passed_s = now_s - self._at_s
        if passed_s <= 0:
            return
        self._at_s = now_s
        least_frames = least_bytes = 0.0
        if self.is_holding:
            least_frames, least_bytes = _LEAST_FRAMES, _LEAST_BYTES
        elif now_s < self._kept_until_s:
            least_frames, least_bytes = min(0.0, self._frames), min(0.0, self._bytes)
        self._frames = max(least_frames, self._frames - passed_s * RATE_FRAMES_PER_S)
        self._bytes = max(least_bytes, self._bytes - passed_s * RATE_BYTES_PER_S)

    def warns(self) -> bool:
        """Whether to warn the app now. Returns True at most once per window."""
        if self._frames <= _WARN * _BURST_FRAMES and self._bytes <= _WARN * RATE_BURST_BYTES:
            return False
        if self._at_s - self._warned_s < RATE_WINDOW_S:
            return False
        self._warned_s = self._at_s
        return True
