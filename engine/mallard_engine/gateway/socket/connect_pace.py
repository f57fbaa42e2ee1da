"""Admits drivers at the rate that the node can serve, after a restart or an outage of a network.

A hello costs scripts and turns of the event loop. If thousands were begun at once, offers to the
drivers who are there already would wait behind all of them. So a few are served at a time, in the
order of their arrival, and what the node could not serve soon is asked to come back later.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

# Hellos at a time: enough to share the round trips to Redis, few enough for offers in between.
_AT_ONCE: Final = 16
# A hello that would wait longer is sent away with a time to come back.
_LONGEST_WAIT_S: Final = 10.0
# How long a hello takes, until a storm has shown it.
_FIRST_GUESS_S: Final = 0.001
# The share of the newest hello in the mean.
_NEWEST: Final = 0.05
# Advice is spread over this many times the time that the waiting ones will take.
_SPREAD: Final = 2.0


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
        """The hellos that wait for their turn."""
        self.each_s = _FIRST_GUESS_S
        """The time between two hellos when the node does what it can."""

    def advice_ms(self) -> int | None:
        """Return after how long a new hello should come again; None: it may wait for its turn."""
        wait_s = self.waiting * self.each_s
        if wait_s <= _LONGEST_WAIT_S:
            return None
        return int((wait_s + self._draw() * _SPREAD * wait_s) * 1000)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn of a hello, and hold it for the block."""
        is_busy = self._turns.locked()
        self.waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._turns.release()
            self._note(is_busy=is_busy)

    def _note(self, *, is_busy: bool) -> None:
        """Learn from a hello that had to wait: then the node did nothing but what it can."""
        now_s = self._clock() if self._clock else asyncio.get_running_loop().time()
        if is_busy and self._last_s:
            self.each_s += _NEWEST * (min(now_s - self._last_s, 1.0) - self.each_s)
        self._last_s = now_s
