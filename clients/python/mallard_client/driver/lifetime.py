"""Runs the loops of a driver client from `start` to its end."""

import asyncio
import logging
from collections.abc import Sequence

from mallard_client.driver.connection import Connection
from mallard_client.driver.events import Announcer, Ended
from mallard_client.driver.session import AppSession
from mallard_client.errors import Stopped

_log = logging.getLogger(__name__)


class Lifetime:
    """The loops end together, and all waits with them."""

    def __init__(self, connection: Connection, session: AppSession, announcer: Announcer) -> None:
        self._connection = connection
        self._session = session
        self._announcer = announcer
        self._running: asyncio.Task[None] | None = None
        self._over = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether the loops have ended."""
        return self._over.is_set()

    def start(self) -> None:
        """See `DriverClient.start`."""
        if self._running is not None and not self._running.done():
            return
        self._over.clear()
        self._connection.reset()
        self._running = asyncio.create_task(self._run(), name="driver")

    async def stop(self) -> None:
        """See `DriverClient.stop`."""
        running, self._running = self._running, None
        if running is None:
            return
        if not running.done():
            self._connection.stop(Stopped("stopped by the app", by_app=True))
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def closed(self) -> Stopped:
        """See `DriverClient.closed`."""
        if self._connection.stopped is None:
            await self._over.wait()
        return self._connection.stopped or Stopped("the client was started again")

    async def _run(self) -> None:
        """Run the loops until one ends, and report the reason."""
        connection, session = self._connection, self._session
        loops = [
            asyncio.create_task(loop, name=f"driver-{name}")
            for name, loop in (
                ("connection", connection.run()),
                ("fixes", session.sender.run(connection)),
                ("reports", session.send_reports(connection)),
                ("wish", session.restate_wish(connection)),
            )
        ]
        try:
            await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for loop in loops:
                loop.cancel()
            outcomes = await asyncio.gather(*loops, return_exceptions=True)
            if self._running in {None, asyncio.current_task()}:  # else it was started again
                self._end(connection.stopped or _why(outcomes))

    def _end(self, why: Stopped) -> None:
        if not why.by_app:
            _log.error("the driver client has stopped: %s", why)
        self._connection.stop(why)
        self._session.reports.fail_pending(why)
        self._session.turned.set()
        self._over.set()
        self._announcer.emit(Ended(why))


def _why(outcomes: Sequence[object]) -> Stopped:
    """Return why the loops ended."""
    for outcome in outcomes:
        if isinstance(outcome, Stopped):
            return outcome
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            _log.error("a part of the driver client failed", exc_info=outcome)
            stopped = Stopped(f"the client failed: {outcome!r}")
            stopped.__cause__ = outcome
            return stopped
    return Stopped("the client's task was cancelled")
