"""A circuit breaker: a service that failed several times in a row is not called for a while."""

from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row, for `rest_s` seconds of `clock`.

    After the rest one caller may try; the others stay refused until that call has succeeded.
    """

    def __init__(self, failures: int, rest_s: float, clock: Callable[[], float]) -> None:
        self._most, self._rest_s, self._clock = failures, rest_s, clock
        self._failed = 0
        self._rests_until_s = 0.0

    def allows(self) -> bool:
        """Return whether to call; the caller must then report `succeeded` or `failed`."""
        if self._failed < self._most:
            return True
        now_s = self._clock()
        if now_s < self._rests_until_s:
            return False
        self._rests_until_s = now_s + self._rest_s
        return True

    def succeeded(self) -> None:
        """Record a successful call: close the breaker."""
        self._failed = 0

    def failed(self) -> bool:
        """Record a failed call; return whether it opened the breaker."""
        self._failed += 1
        self._rests_until_s = self._clock() + self._rest_s
        return self._failed == self._most
