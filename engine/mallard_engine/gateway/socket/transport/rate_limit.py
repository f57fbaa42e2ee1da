"""Limits the frames and bytes that a socket may send."""

from typing import Final

from mallard_protocol.codes import (
    RATE_BURST_BYTES,
    RATE_BYTES_PER_S,
    RATE_FRAMES_PER_S,
    RATE_WINDOW_S,
)

_BURST_FRAMES: Final = RATE_FRAMES_PER_S * RATE_WINDOW_S
# The share of an allowance at which the app is warned, once per window.
_WARN: Final = 0.75


class FrameRate:
    """Two token buckets, one for frames and one for bytes."""

    __slots__ = ("_at_s", "_bytes", "_frames", "_warned_s")

    def __init__(self) -> None:
        # Spent and not yet refilled.
        self._frames = 0.0
        self._bytes = 0.0
        self._at_s = 0.0
        self._warned_s = -float(RATE_WINDOW_S)

    def count(self, now_s: float, size: int) -> bool:
        """Count a frame of `size` bytes; return whether it exceeds a limit."""
        passed_s = now_s - self._at_s
        if passed_s > 0:
            self._at_s = now_s
            self._frames = max(0.0, self._frames - passed_s * RATE_FRAMES_PER_S)
            self._bytes = max(0.0, self._bytes - passed_s * RATE_BYTES_PER_S)
        self._frames += 1
        self._bytes += size
        return self._frames > _BURST_FRAMES or self._bytes > RATE_BURST_BYTES

    def warns(self) -> bool:
        """Whether to warn the app now. Returns True at most once per window."""
        if self._frames <= _WARN * _BURST_FRAMES and self._bytes <= _WARN * RATE_BURST_BYTES:
            return False
        if self._at_s - self._warned_s < RATE_WINDOW_S:
            return False
        self._warned_s = self._at_s
        return True
