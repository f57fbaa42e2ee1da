"""A driver of a locust run: an `AppDriver` whose connection and timers are greenlets."""

import random
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Group

from load_tests.credentials import DriverToken
from load_tests.drivers.app_driver import AppDriver, AppHabits
from load_tests.frames import Frame
from load_tests.measurements import Measure, Report
from load_tests.users.driver_socket import Closed, DriverSocket
from load_tests.users.recorder import LocustRecorder
from mallard_client.backoff import FullJitter, may_reconnect
from mallard_engine.workload.road import Point


class RejectedForGood(Exception):
    """The engine closed the socket with a code that forbids reconnecting."""


class DriverApp(AppDriver):
    """A driver who works from `start` until `stop`.

    Args:
        socket_url: Returns the socket address of the nth node, in turn.
        node: The node to begin with.
        team: Equipment that the driver carries; it is offered the jobs that require it as well.
    """

    def __init__(
        self,
        who: DriverToken,
        home: Point,
        *,
        socket_url: Callable[[int], str],
        node: int,
        habits: AppHabits,
        team: str | None,
        recorder: LocustRecorder,
        report: Report,
        rng: random.Random,
    ) -> None:
        super().__init__(who, home, habits, rng, recorder, (team,) if team else ())
        self.location_s = 4.0
        self.rejected: RejectedForGood | None = None
        self.online = Event()
        self.offline_since_s = time.monotonic()
        self._socket_url = socket_url
        self._node = node
        self._report = report
        self._due_s: float | None = None
        self._socket = DriverSocket()
        self._greenlets = Group()

    def start(self) -> None:
        """Connect, and stay connected."""
        self._greenlets.spawn(self._stay_connected)

    def stop(self) -> None:
        """Close the connection for good."""
        self._socket.hang_up()
        self._greenlets.kill()

    def lose_socket(self) -> None:
        """Cut the connection, as in a tunnel; the app reconnects by itself."""
        self._socket.lose()

    def _send(self, payload: bytes) -> None:
        self._socket.send(payload)

    def _schedule(self, wait_s: float, action: Callable[..., None], *args: Any) -> None:
        self._greenlets.add(gevent.spawn_later(wait_s, action, *args))

    def _stay_connected(self) -> None:
        jitter = FullJitter(self._rng)
        while True:
            code = self._run_socket()
            if self.online.is_set():
                self.online.clear()
                self.offline_since_s = time.monotonic()
                jitter.reset()
            self.lost()
            if not may_reconnect(code):
                self.rejected = RejectedForGood(f"closed with {code}")
                self._report(Measure.RECONNECT, 0.0, self.rejected)
                return
            self._node += 1  # another node may be up when this one is not
            come_back_s = self.come_back_s or time.monotonic() + jitter.next_s()
            self.come_back_s = None
            # The first connection is measured only if it takes a second try.
            self._due_s = self._due_s or come_back_s
            gevent.sleep(max(0.0, come_back_s - time.monotonic()))

    def _run_socket(self) -> int:
        """Connect and read until the socket ends; return its close code."""
        self._socket = DriverSocket()
        try:
            self._socket.open(self._socket_url(self._node), self.hello())
            while True:
                frame = self._socket.read()
                self.handle(frame, time.monotonic())
        except Closed as closed:
            return closed.code
        finally:
            self._socket.close()

    def _welcomed(self, welcome: Frame, now_s: float) -> None:
        self._socket.wait_without_limit()
        if self._due_s is not None:
            self._report(Measure.RECONNECT, time.monotonic() - self._due_s, None)
            self._due_s = None
        self.location_s = welcome["location_ms"] / 1000
        super()._welcomed(welcome, now_s)
        self.online.set()
