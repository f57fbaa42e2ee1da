"""A worker's drivers: they connect one after another and report in turn."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from load_tests.credentials import Credentials, DriverToken
from load_tests.places import Ground
from load_tests.swarm.driver import Base, Phone

_TICK_S: Final = 0.01
_CONNECTING_AT_ONCE: Final = 256


class Fleet:
    """The `worker`th part of all drivers. Given tokens may be fewer than the drivers asked for.

    Raises `BadCredentials`, `NoGround`.
    """

    def __init__(self, base: Base, ground: Ground, credentials: Credentials, worker: int) -> None:
        self._base = base
        self._ground = ground
        self._credentials = credentials
        self._worker = worker
        self.phones = list(self._phones())
        self.online = 0
        self._doors = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        self._reporting: asyncio.TimerHandle | None = None
        self._reported = 0
        self._began_s = 0.0

    async def connect(self) -> None:
        """Begin to connect all, at the plan's pace."""
        plan = self._base.plan
        began_s = time.monotonic()
        for number, phone in enumerate(self.phones):
            due_s = began_s + number * plan.processes / plan.connects_per_s
            if (wait_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            # More at once would only wait in the server's queue, until it takes them for silent.
            await self._doors.acquire()
            phone.connect()

    def came_online(self) -> bool:
        """One more is in; returns whether all are."""
        self.online += 1
        self._doors.release()
        return self.online == len(self.phones)

    def start_reporting(self) -> None:
        """Each sends a fix every `report_s`, all of them evenly spread over that time."""
        self.stop_reporting()
        if self._base.plan.report_s > 0:
            self._began_s, self._reported = time.monotonic(), 0
            self._report()

    def stop_reporting(self) -> None:
        """Send none any more."""
        if self._reporting is not None:
            self._reporting.cancel()
            self._reporting = None

    def hang_up(self) -> None:
        """End all."""
        self.stop_reporting()
        for phone in self.phones:
            phone.hang_up()

    def _report(self) -> None:
        now_s = time.monotonic()
        share = (now_s - self._began_s) / self._base.plan.report_s
        due, count = int(share * len(self.phones)), len(self.phones)
        # After a long pause each reports once, as a phone would, and not as often as it missed.
        for number in range(max(self._reported, due - count), due):
            self.phones[number % count].report(now_s)
        self._reported = due
        self._reporting = self._base.loop.call_later(_TICK_S, self._report)

    def _phones(self) -> Iterator[Phone]:
        plan, dice = self._base.plan, self._base.dice
        mine = range(self._worker, plan.drivers, plan.processes)
        given = self._credentials.drivers(self._worker, plan.processes)
        for turn, number in enumerate(mine):
            who: DriverToken | None = None
            if given is not None:
                if turn == len(given):
                    return
                who = given[turn]
            is_crowd = number < plan.crowd
            ground = self._ground if is_crowd or not plan.crowd else self._ground.elsewhere
            mall, home = ground.home(dice, who.market if who else None, near_flash_mall=is_crowd)
            if who is None:
                who = self._credentials.driver(f"{plan.name}-{number}", mall.market)
            yield Phone(who, home, number, self._base)
