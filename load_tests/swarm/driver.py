"""A driver of the swarm: an `AppDriver` on event-loop callbacks, without a task of its own."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from load_tests.credentials import DriverToken
from load_tests.drivers.app_driver import AppDriver, AppHabits
from load_tests.frames import BadFrame, Frame, unpack
from load_tests.measurements import Measure
from load_tests.swarm.event_log import EventLog
from load_tests.swarm.plan import SwarmPlan
from load_tests.swarm.wire.ws_client import SocketWire
from mallard_client.backoff import FullJitter, may_reconnect
from mallard_engine.workload.road import Point

_CONNECT_WITHIN_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What all drivers of a worker share."""

    plan: SwarmPlan
    habits: AppHabits
    log: EventLog
    rng: random.Random
    loop: asyncio.AbstractEventLoop
    came_online: Callable[[], None]
    rejected: Callable[[str], None]


class SwarmDriver(AppDriver):
    """One driver, who works from `connect` until `hang_up`."""

    __slots__ = ("_connecting", "_context", "_is_over", "_jitter", "_lost_s", "_node", "_wire")

    def __init__(self, who: DriverToken, home: Point, node: int, context: WorkerContext) -> None:
        super().__init__(who, home, context.habits, context.rng, context.log)
        self._context = context
        self._node = node
        self._wire: SocketWire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._jitter: FullJitter | None = None
        self._lost_s: float | None = None
        self._is_over = False

    def connect(self) -> None:
        """Open a socket and say hello."""
        if not self._is_over:
            self._connecting = self._context.loop.create_task(self._connect())

    def hang_up(self) -> None:
        """Close the connection for good."""
        self._is_over = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.close()

    def report(self, now_s: float) -> None:
        """Send a fix if the driver is online."""
        if self._wire is not None and self.is_online:
            self.send_fix(now_s)
            self._context.log.count("fixes")

    def _send(self, payload: bytes) -> None:
        if self._wire is not None:
            self._wire.send(payload)

    def _schedule(self, wait_s: float, action: Callable[..., None], *args: Any) -> None:
        if wait_s > 0:
            self._context.loop.call_later(wait_s, action, *args)
        else:
            action(*args)

    async def _connect(self) -> None:
        url = urlsplit(self._context.plan.target.socket_url(self._node))
        is_tls = url.scheme == "wss"
        wire = SocketWire(
            url.netloc, url.path, opened=self._opened, received=self._received, lost=self._closed
        )
        self._wire = wire
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await self._context.loop.create_connection(
                    lambda: wire,
                    url.hostname or "",
                    url.port or (443 if is_tls else 80),
                    ssl=is_tls,
                )
        except OSError:  # a TimeoutError is one
            self._context.log.count("connect: failed")
            self._closed(1006)
        finally:
            self._connecting = None

    def _opened(self) -> None:
        self._send(self.hello())
        if not self._context.plan.awaits_welcome:
            self._came_online()

    def _received(self, payload: bytes) -> None:
        try:
            frame = unpack(payload)
        except BadFrame:
            self._context.log.count("bad frame")
            return
        self.handle(frame, time.monotonic())

    def _welcomed(self, welcome: Frame, now_s: float) -> None:
        self._came_online()
        super()._welcomed(welcome, now_s)

    def _came_online(self) -> None:
        self.is_online = True
        self._jitter = None
        if self._lost_s is not None:
            self._context.log.sample(Measure.RECONNECT, self._lost_s, time.monotonic())
            self._lost_s = None
        else:
            self._context.came_online()

    def _closed(self, code: int) -> None:
        self._wire = None
        if self._is_over:
            return
        now_s = time.monotonic()
        if self.is_online:
            self._context.log.count(f"socket closed: {code}")
            self._lost_s = now_s
        self.lost()
        if not may_reconnect(code):
            self._is_over = True
            self._context.rejected(f"{self.who.driver} was closed with {code}")
            return
        self._node += 1  # another node may be up when this one is not
        if self._jitter is None:
            self._jitter = FullJitter(self._context.rng)
        wait_s = self._jitter.next_s()
        if self.come_back_s is not None:
            wait_s, self.come_back_s = max(0.0, self.come_back_s - now_s), None
        self._context.loop.call_later(wait_s, self.connect)
