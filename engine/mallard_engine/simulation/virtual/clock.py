"""The virtual clock: the loop's seconds as epoch milliseconds."""

import asyncio

from mallard_engine.simulation.virtual.loop import VirtualLoop


class VirtualClock:
    """A clock that shows `start_ms` (epoch) at the loop's 0 s."""

    def __init__(self, loop: VirtualLoop, start_ms: int) -> None:
        self._loop = loop
        self._start_ms = start_ms

    def now_ms(self) -> int:
        """Return the virtual time."""
        return self._start_ms + round(self._loop.time() * 1000)

    async def until(self, at_ms: int) -> None:
        """Wait until a moment; return at once if it has passed."""
        if (delay_s := self.seconds_to(at_ms)) > 0:
            await asyncio.sleep(delay_s)

    def seconds_to(self, at_ms: int) -> float:
        """Return the seconds until a moment, negative if it has passed."""
        return (at_ms - self._start_ms) / 1000 - self._loop.time()
