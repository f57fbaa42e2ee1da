"""A breaker: what has failed several times in a row is left alone for a while."""

from collections.abc import Callable


class Breaker:
    """Opens after so many ``failures`` in a row, for ``rest_s`` seconds of ``clock``. Then one may
    try; the others go on without until that one has succeeded."""

    def __init__(self, failures: int, rest_s: float, clock: Callable[[], float]) -> None:
        self._most, self._rest_s, self._clock = failures, rest_s, clock
        self._failed = 0
        self._rests_until_s = 0.0

    def allows(self) -> bool:
        """Whether to try; whoever does must tell how it went, or another may after the rest."""
        if self._failed < self._most:
            return True
        now_s = self._clock()
        if now_s < self._rests_until_s:
            return False
        self._rests_until_s = now_s + self._rest_s
        return True

    def succeeded(self) -> None:
        """It works."""
        self._failed = 0

    def failed(self) -> bool:
        """It does not; whether the breaker has opened just now."""
        self._failed += 1
        self._rests_until_s = self._clock() + self._rest_s
        return self._failed == self._most
