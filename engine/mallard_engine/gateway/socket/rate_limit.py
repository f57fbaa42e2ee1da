"""How many frames and bytes a socket may send."""

from typing import Final

from mallard_protocol.codes import (
    RATE_BURST_BYTES,
    RATE_BYTES_PER_S,
    RATE_FRAMES_PER_S,
    RATE_WINDOW_S,
)

_BURST_FRAMES: Final = RATE_FRAMES_PER_S * RATE_WINDOW_S
# An app that has spent three quarters of an allowance is told once a window.
_WARN: Final = 0.75


class FrameRate:
    """Two token buckets, one of frames and one of bytes: a burst is fine, an excess is not."""

    __slots__ = ("_at_s", "_bytes", "_frames", "_warned_s")

    def __init__(self) -> None:
        # What is spent and not yet given back.
        self._frames = 0.0
        self._bytes = 0.0
        self._at_s = 0.0
        self._warned_s = -float(RATE_WINDOW_S)

    def count(self, now_s: float, size: int) -> bool:
        """Count a frame of so many bytes; return whether it was too much."""
        passed_s = now_s - self._at_s
        if passed_s > 0:
            self._at_s = now_s
            self._frames = max(0.0, self._frames - passed_s * RATE_FRAMES_PER_S)
            self._bytes = max(0.0, self._bytes - passed_s * RATE_BYTES_PER_S)
        self._frames += 1
        self._bytes += size
        return self._frames > _BURST_FRAMES or self._bytes > RATE_BURST_BYTES

    def warns(self) -> bool:
        """Whether the app should be told now to slow down."""
        if self._frames <= _WARN * _BURST_FRAMES and self._bytes <= _WARN * RATE_BURST_BYTES:
            return False
        if self._at_s - self._warned_s < RATE_WINDOW_S:
            return False
        self._warned_s = self._at_s
        return True
