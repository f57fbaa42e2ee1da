"""Chooses the next of several equal servers. Pure."""

from collections import deque
from collections.abc import Sequence

# How many turns a server is skipped after it did not answer, before it is tried again.
_PASSED_OVER = 20


class Servers:
    """Equal servers, used in turn; a server that did not answer is skipped for a while."""

    def __init__(self, base_urls: Sequence[str]) -> None:
        self._ring = deque(url.rstrip("/") for url in base_urls)
        self._passes_left: dict[str, int] = {}

    def next(self) -> str:
        """Return the server to use now. If all are skipped, the next in turn."""
        for _ in self._ring.copy():
            url = self._turn()
            passes_left = self._passes_left.get(url, 0)
            if not passes_left:
                return url
            self._passes_left[url] = passes_left - 1
        return self._turn()

    def note(self, url: str, *, answered: bool) -> None:
        """Note whether a server answered; a refusal is an answer."""
        if answered:
            self._passes_left.pop(url, None)
        else:
            self._passes_left[url] = _PASSED_OVER

    def _turn(self) -> str:
        url = self._ring[0]
        self._ring.rotate(-1)
        return url
