"""A worker's drivers, which connect one after another and report in turn."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from load_tests.credentials import Credentials, DriverToken
from load_tests.places import RunPlaces
from load_tests.swarm.driver import SwarmDriver, WorkerContext

_TICK_S: Final = 0.01
_CONNECTING_AT_ONCE: Final = 256


class Fleet:
    """The drivers of one worker; given tokens may be fewer than the planned drivers.

    Raises `BadCredentials`, `NoPlaces`.
    """

    def __init__(
        self, context: WorkerContext, places: RunPlaces, credentials: Credentials, worker: int
    ) -> None:
        self._context = context
        self._places = places
        self._credentials = credentials
        self._worker = worker
        self.drivers = list(self._new_drivers())
        self.online = 0
        self._doors = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        self._reporting: asyncio.TimerHandle | None = None
        self._reported = 0
        self._began_s = 0.0

    async def connect(self) -> None:
        """Start to connect all drivers at the plan's rate."""
        plan = self._context.plan
        began_s = time.monotonic()
        for number, driver in enumerate(self.drivers):
            due_s = began_s + number * plan.processes / plan.connects_per_s
            if (wait_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            # More at once would wait in the server's queue until their handshakes time out.
            await self._doors.acquire()
            driver.connect()

    def came_online(self) -> bool:
        """Count a driver as online; return whether all are."""
        self.online += 1
        self._doors.release()
        return self.online == len(self.drivers)

    def start_reporting(self) -> None:
        """Make each driver send a fix every `report_s`, spread evenly over that time."""
        self.stop_reporting()
        if self._context.plan.report_s > 0:
            self._began_s, self._reported = time.monotonic(), 0
            self._report()

    def stop_reporting(self) -> None:
        """Stop sending fixes."""
        if self._reporting is not None:
            self._reporting.cancel()
            self._reporting = None

    def hang_up(self) -> None:
        """End all."""
        self.stop_reporting()
        for driver in self.drivers:
            driver.hang_up()

    def _report(self) -> None:
        now_s = time.monotonic()
        share = (now_s - self._began_s) / self._context.plan.report_s
        due, count = int(share * len(self.drivers)), len(self.drivers)
        # After a long pause each driver reports once, as an app does, not once per missed fix.
        for number in range(max(self._reported, due - count), due):
            self.drivers[number % count].report(now_s)
        self._reported = due
        self._reporting = self._context.loop.call_later(_TICK_S, self._report)

    def _new_drivers(self) -> Iterator[SwarmDriver]:
        plan, rng = self._context.plan, self._context.rng
        mine = range(self._worker, plan.drivers, plan.processes)
        given = self._credentials.drivers(self._worker, plan.processes)
        for turn, number in enumerate(mine):
            who: DriverToken | None = None
            if given is not None:
                if turn == len(given):
                    return
                who = given[turn]
            is_crowd = number < plan.crowd
            places = self._places if is_crowd or not plan.crowd else self._places.elsewhere
            mall, home = places.home(rng, who.market if who else None, near_flash_mall=is_crowd)
            if who is None:
                who = self._credentials.driver(f"{plan.name}-{number}", mall.market)
            yield SwarmDriver(who, home, number, self._context)
