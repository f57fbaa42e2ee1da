"""The locust user that submits orders on a timetable, as an order service does."""

import itertools
import time
from typing import Any, Final

import gevent
from gevent.pool import Group
from locust import FastHttpUser, tag, task

from load_tests.measurements import Measure
from load_tests.shapes import Arrival
from load_tests.users.load_run import LoadRun, current_run

# Another node, or the same node a moment later, may answer better.
_UNAVAILABLE: Final = frozenset({0, 503})


class OrderUser(FastHttpUser):
    """An order service, one per worker. Its orders are sent on time, answered or not."""

    fixed_count = 1  # set to the number of workers once that is known
    weight = 0
    concurrency = 256
    insecure = False
    network_timeout = 15.0
    connection_timeout = 5.0

    def on_start(self) -> None:
        """Take this worker's share of the orders."""
        self._run = current_run(self.environment)
        self._arrivals = self._run.arrivals() if self._run else iter(())
        self._sending = Group()
        self._turns = itertools.count()

    def on_stop(self) -> None:
        """Abandon the open requests."""
        self._sending.kill()

    @tag("orders")
    @task
    def submit(self) -> None:
        """Wait until the next order is due, and send it without waiting for its answer."""
        due = next(self._arrivals, None)
        if self._run is None or due is None:
            gevent.sleep(1.0)
            return
        due_s, arrival = due
        gevent.sleep(max(0.0, due_s - time.monotonic()))
        self._sending.spawn(self._post, self._run, due_s, arrival)

    def _post(self, run: LoadRun, due_s: float, arrival: Arrival) -> None:
        external_id, body = run.order(arrival)
        with self._answer(run, external_id, body) as response:
            # Latency includes waiting for a connection and for another node.
            response.request_meta["response_time"] = (time.monotonic() - due_s) * 1000
            response.request_meta["request_type"] = Measure.POST_JOB.request_type
            if response.status_code != 201:
                problem = response.text or response.error
                response.failure(f"{response.status_code}: {problem}"[:200])
                return
            job = response.json()["id"]
        run.posted(job, due_s)

    def _answer(self, run: LoadRun, key: str, body: str) -> Any:
        """Post to a node, and to the others in turn if it is unavailable."""
        headers = {
            "Authorization": f"Bearer {run.orders_token}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        # One turn per order, not per try: with concurrent orders the next turn could be the node
        # that has just refused.
        first, count = next(self._turns), len(run.target.nodes)
        for number in range(first, first + count):
            answer = self.client.post(
                f"{run.target.node(number)}/v1/jobs",
                data=body,
                headers=headers,
                name=Measure.POST_JOB.value,
                catch_response=True,
            )
            if answer.status_code not in _UNAVAILABLE:
                break
        return answer
