"""Sends a driver's fixes at the advised interval, and in bursts those of an absence."""

import asyncio
from collections.abc import Callable

from mallard_client.driver.clock import Clock
from mallard_client.driver.connection import Connection
from mallard_client.driver.reporting.fixes import FixBuffer, LocalFix
from mallard_client.driver.socket import Link
from mallard_client.errors import LinkLost
from mallard_client.tokens import Sleep
from mallard_client.waiting import first_of
from mallard_protocol.codes import LOCATION_MS
from mallard_protocol.messages import Location

# A burst takes three quarters of what a socket may send at once (RATE_ of the contract), which is
# refilled before the next.
BURST_FRAMES = 20
BURST_EVERY_S = 4.0


class FixSender:
    """Keeps fixes and sends them, oldest first.

    Args:
        limit: How many fixes may wait.
        every_ms: The app's interval; None: the one that the engine advises.
        on_sent: Called after each frame.
    """

    def __init__(
        self,
        limit: int,
        every_ms: int | None,
        on_sent: Callable[[], None],
        *,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self.fixes = FixBuffer(limit)
        self._own_every_ms = every_ms
        self._advised_every_ms = LOCATION_MS
        self._on_sent = on_sent
        self._clock = clock
        self._sleep = sleep
        self._fix_came = asyncio.Event()
        self._paced = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._bursting = asyncio.Lock()
        # Whether the next burst must wait.
        self._burst_sent = False

    @property
    def every_ms(self) -> int:
        """The interval between fixes."""
        return self._own_every_ms or self._advised_every_ms

    def set_pace(self, location_ms: int) -> None:
        """Change the advised interval, including a wait that has begun."""
        if location_ms > 0 and location_ms != self._advised_every_ms:
            self._advised_every_ms = location_ms
            self._paced.set()

    def add(self, fix: LocalFix | None) -> bool:
        """Queue a fix until it is sent; return False if it is invalid."""
        kept = self.fixes.add(fix)
        if kept:
            self._fix_came.set()
        return kept

    async def welcomed(self, link: Link) -> None:
        """Send a burst; the rest follows later."""
        if not await self._send_burst(link):
            self._fix_came.set()

    async def run(self, connection: Connection) -> None:
        """Send new fixes in batches, at the interval, without end."""
        while True:
            await self._fix_came.wait()
            link = await connection.linked()
            try:
                await self.flush(link)
            except LinkLost:
                connection.lose(link)
                self._fix_came.set()
                continue
            self._paced.clear()
            await first_of(self._sleep(self.every_ms / 1000), self._paced.wait())

    async def flush(self, link: Link) -> None:
        """Send every fix that waits, no faster than a socket may.

        Raises `LinkLost`; what was not sent is kept.
        """
        async with self._flushing:
            while not await self._send_burst(link):
                await self._sleep(BURST_EVERY_S)
                self._burst_sent = False

    async def _send_burst(self, link: Link) -> bool:
        """Send fixes that wait, unless a burst was just sent; return whether none is left."""
        async with self._bursting:
            self._fix_came.clear()
            for _ in range(0 if self._burst_sent else BURST_FRAMES):
                if not (fixes := self.fixes.take()):
                    return True
                on_wire = tuple(fix.on_wire(self._clock.offset_ms) for fix in fixes)
                try:
                    await link.send(Location(on_wire, now_ms=max(0, self._clock.now_ms())))
                except BaseException:
                    self.fixes.put_back(fixes)
                    raise
                self._on_sent()
            self._burst_sent = len(self.fixes) > 0
            return not self._burst_sent
