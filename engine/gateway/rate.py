"""How many frames a socket may send."""

from protocol.codes import RATE_FRAMES_PER_S, RATE_WINDOW_S

_LIMIT = RATE_FRAMES_PER_S * RATE_WINDOW_S
# An app that spends three quarters of its allowance is told once a window.
_WARN = _LIMIT * 3 // 4


class FrameRate:
    """Frames in the last `RATE_WINDOW_S` seconds: a burst is fine, a sustained excess is not."""

    __slots__ = ("_counts", "_second", "_total", "_warned_second")

    def __init__(self) -> None:
        self._counts = [0] * RATE_WINDOW_S
        self._second = 0
        self._total = 0
        self._warned_second = -RATE_WINDOW_S

    def count(self, now_s: float) -> bool:
        """Count a frame; return whether there were too many."""
        second = int(now_s)
        if second != self._second:
            self._roll_to(second)
        self._counts[second % RATE_WINDOW_S] += 1
        self._total += 1
        return self._total > _LIMIT

    def warns(self) -> bool:
        """Whether the app should be told now to slow down."""
        if self._total <= _WARN or self._second - self._warned_second < RATE_WINDOW_S:
            return False
        self._warned_second = self._second
        return True

    def _roll_to(self, second: int) -> None:
        """Forget the seconds that have left the window."""
        for past in range(self._second + 1, min(second, self._second + RATE_WINDOW_S) + 1):
            self._total -= self._counts[past % RATE_WINDOW_S]
            self._counts[past % RATE_WINDOW_S] = 0
        self._second = second
