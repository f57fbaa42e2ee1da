"""Limits the frames and bytes that a socket may send.

A frame is counted when it is handled. While a message waits, for example for Redis, the node holds
the socket's input. The frames of several seconds are then handled at once, although the app sent
them in time. So the buckets refill beyond full while input is held: the app may have sent one burst
and, from the beginning of the hold, the rate; more than that exceeds the limit (ADR 0217).
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
# The lowest levels while input is held: the refill of the time after which a node without Redis
# closes its sockets.
_LEAST_FRAMES: Final = -STORE_DOWN_CLOSE_S * RATE_FRAMES_PER_S
_LEAST_BYTES: Final = -STORE_DOWN_CLOSE_S * RATE_BYTES_PER_S
# Reading was paused while input was held. The kernel passes on what it kept within this time.
_KERNEL_INPUT_S: Final = 1.0


class FrameRate:
    """Two token buckets, one for frames and one for bytes."""

    __slots__ = ("_at_s", "_bytes", "_frames", "_kept_until_s", "_warned_s", "is_holding")

    def __init__(self) -> None:
        # What is spent and not refilled; below 0 only while held input may follow.
        self._frames = 0.0
        self._bytes = 0.0
        self._at_s = 0.0
        self._warned_s = -float(RATE_WINDOW_S)
        self.is_holding = False
        # Levels below 0 are kept until then.
        self._kept_until_s = 0.0

    def count(self, now_s: float, size: int) -> bool:
        """Count a frame of `size` bytes; return whether it exceeds a limit."""
        self._refill(now_s)
        self._frames += 1
        self._bytes += size
        return self._frames > _BURST_FRAMES or self._bytes > RATE_BURST_BYTES

    def hold(self, now_s: float) -> None:
        """Note that from now on the input waits in the node."""
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
