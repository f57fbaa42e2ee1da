"""The two kinds of users: driver apps on sockets, and the order services that give them work."""

import time
import uuid
from typing import Any, Final

import gevent
from gevent.pool import Group
from locust import FastHttpUser, User, tag, task
from locust.exception import StopUser

from load_tests.load_run import run_of
from load_tests.measures import Measure
from load_tests.shapes import Arrival

_ONLINE_WITHIN_S: Final = 30.0
# Answers of a node that another node, or a later try, may give better.
_UNAVAILABLE: Final = frozenset({0, 503})


class DriverUser(User):
    """A driver with a real socket. Its tasks report where it is; all else answers the engine."""

    def on_start(self) -> None:
        """Connect, and wait until the engine has welcomed it."""
        self.run_ = run_of(self.environment)
        app = self.run_.new_driver()
        if app is None:
            raise StopUser
        self.app = app
        app.start()
        app.online.wait(_ONLINE_WITHIN_S)
        self._next_fix_s = time.monotonic()

    def on_stop(self) -> None:
        """Hang up."""
        if hasattr(self, "app"):
            self.app.stop()
            self.run_.forget_driver(self.app)

    def wait_time(self) -> float:
        """Seconds to the next fix: the engine's pace, by a clock that waits for nothing."""
        self._next_fix_s += self.app.location_s
        return max(0.0, self._next_fix_s - time.monotonic())

    @tag("positions")
    @task(20)
    def report_position(self) -> None:
        """Send a fix."""
        self._stop_if_turned_away()
        self.app.send_position()

    @tag("visibility")
    @task(1)
    def watch_position(self) -> None:
        """Send a fix and look when operators see it."""
        self._stop_if_turned_away()
        if self.app.online.is_set():
            self.run_.watch_position(self.app)

    def _stop_if_turned_away(self) -> None:
        if self.app.turned_away:
            raise StopUser


class OrderUser(FastHttpUser):
    """An order service, one a worker. Its orders arrive by the clock, answered or not."""

    concurrency = 256
    insecure = False
    network_timeout = 15.0
    connection_timeout = 5.0

    def on_start(self) -> None:
        """Take this worker's share of the orders."""
        self.run_ = run_of(self.environment)
        self._arrivals = self.run_.arrivals()
        self._sending = Group()

    def on_stop(self) -> None:
        """Give up what is under way."""
        if hasattr(self, "_sending"):
            self._sending.kill()

    @tag("orders")
    @task
    def submit(self) -> None:
        """Wait until the next order is due, and send it without waiting for its answer."""
        due = next(self._arrivals, None)
        if due is None:
            gevent.sleep(1.0)
            return
        due_s, arrival = due
        gevent.sleep(max(0.0, due_s - time.monotonic()))
        self._sending.spawn(self._post, due_s, arrival)

    def _post(self, due_s: float, arrival: Arrival) -> None:
        number, body = self.run_.order(arrival)
        with self._answer(number, body) as response:
            # An order that waited for a connection, or for another node, has waited all the same.
            response.request_meta["response_time"] = (time.monotonic() - due_s) * 1000
            response.request_meta["request_type"] = Measure.POST_JOB.request_type
            if response.status_code != 201:
                problem = response.text or response.error
                response.failure(f"{response.status_code}: {problem}"[:200])
                return
            job = response.json()["id"]
        self.run_.posted(job, due_s)

    def _answer(self, number: str, body: str) -> Any:
        """Post to a node, and to the others in turn while one is not available."""
        nodes = self.run_.target.nodes
        headers = {
            "Authorization": f"Bearer {self.run_.orders_token}",
            "Content-Type": "application/json",
            "Idempotency-Key": uuid.uuid4().hex,
        }
        for turn in range(len(nodes)):
            answer = self.client.post(
                f"{nodes[(hash(number) + turn) % len(nodes)]}/v1/jobs",
                data=body,
                headers=headers,
                name=Measure.POST_JOB.value,
                catch_response=True,
            )
            if answer.status_code not in _UNAVAILABLE:
                break
        return answer
