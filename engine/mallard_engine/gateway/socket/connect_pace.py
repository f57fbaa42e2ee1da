"""Admits drivers at the rate that the node can serve, after a restart or a network outage.

A hello costs scripts and iterations of the event loop. If thousands were started at once, offers to
connected drivers would wait behind all of them. So a few are served at a time, in the order of
arrival, and a driver whose turn would come late is asked to reconnect later.

A hello that waits holds no lock: the requests and pushes of connected drivers never wait for it.
"""

import asyncio
import random
from collections.abc import Callable
from types import TracebackType
from typing import Final

# Hellos at a time: enough to share the round trips to Redis, few enough for offers in between.
_AT_ONCE: Final = 16
# A hello that would wait longer is refused with a time to reconnect. The clients give up after 8 s
# without a `welcome`, and a hello that is served after that is wasted.
_LONGEST_WAIT_S: Final = 5.0
# The time per hello until a storm has been measured.
_FIRST_GUESS_S: Final = 0.001
# The longest time per hello that is believed. A Redis that times out makes every hello slow, and
# that must not stretch the next drain to many minutes.
_SLOWEST_S: Final = 0.05
# The weight of the newest hello in the mean.
_NEWEST: Final = 0.05
# Reconnects are spread over this multiple of the time that the waiting hellos will take.
_SPREAD: Final = 2.0


class NoTurn(Exception):
    """The turn of a hello did not come in time."""


class ConnectPace:
    """Counts the hellos of a node. `clock` and `draw`: seconds, and random numbers from 0 to 1."""

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._draw = draw
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._last_s = 0.0
        self.waiting = 0
        """The number of hellos that wait for their turn."""
        self.each_s = _FIRST_GUESS_S
        """The measured time per hello of a fully loaded node, in seconds."""

    @property
    def is_full(self) -> bool:
        """Whether a new hello would wait too long."""
        return self._wait_s > _LONGEST_WAIT_S

    def reconnect_after_ms(self) -> int:
        """Return after how long a refused driver should reconnect: by load, with jitter."""
        wait_s = max(self._wait_s, _LONGEST_WAIT_S)
        return int((wait_s + self._draw() * _SPREAD * wait_s) * 1000)

    def turn(self) -> "_Turn":
        """Return a context that waits for the turn of a hello, and holds it. It raises `NoTurn`."""
        return _Turn(self)

    async def begin(self) -> bool:
        """Wait for a turn; return whether the hello had to wait.

        Raises:
            NoTurn: it did not come in time.
        """
        if not self._turns.locked():
            await self._turns.acquire()
            return False
        self.waiting += 1
        try:
            async with asyncio.timeout(_LONGEST_WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            raise NoTurn from None
        finally:
            self.waiting -= 1
        return True

    def end(self, *, has_waited: bool) -> None:
        """Give a turn back."""
        self._turns.release()
        self._note(is_busy=has_waited)

    @property
    def _wait_s(self) -> float:
        return self.waiting * self.each_s

    def _note(self, *, is_busy: bool) -> None:
        """Learn from a hello that had to wait: the node was fully loaded then."""
        now_s = self._clock() if self._clock else asyncio.get_running_loop().time()
        if is_busy and self._last_s:
            self.each_s += _NEWEST * (min(now_s - self._last_s, _SLOWEST_S) - self.each_s)
        self._last_s = now_s


class _Turn:
    """A turn of `ConnectPace`. A generator would cost more than a turn without a queue."""

    __slots__ = ("_has_waited", "_pace")

    def __init__(self, pace: ConnectPace) -> None:
        self._pace = pace
        self._has_waited = False

    async def __aenter__(self) -> None:
        self._has_waited = await self._pace.begin()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pace.end(has_waited=self._has_waited)
