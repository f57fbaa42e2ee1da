"""Sends orders at Poisson times without waiting for answers."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from typing import Final

from load_tests.drivers.recorder import EventKind
from load_tests.measurements import Measure
from load_tests.places import Mall, RunPlaces
from load_tests.swarm.event_log import EventLog
from load_tests.swarm.precise_timer import PreciseTimer
from load_tests.swarm.wire.http_client import HttpNode

_PREPARED: Final = 512
_WARM_CONNECTIONS: Final = 4
SALE_CONNECTIONS: Final = 64
"""To each node."""
_PATH: Final = "/v1/jobs"

Body = tuple[bytes, bytes]
"""An order's JSON, before and after its name."""


class Orders:
    """One worker's order service. Orders are prepared in advance and differ in their external ids.

    A flash sale's orders come from another service, with connections of its own (`sale_nodes`): the
    usual orders must wait for the engine only.
    """

    def __init__(
        self,
        nodes: Sequence[HttpNode],
        sale_nodes: Sequence[HttpNode],
        places: RunPlaces,
        log: EventLog,
        rng: random.Random,
        prefix: str,
        *,
        spares_flash_market: bool,
    ) -> None:
        self._nodes = nodes
        self._sale_nodes = sale_nodes
        self._places = places
        self._log = log
        self._rng = rng
        self._prefix = prefix
        self._number = 0
        usual = places.elsewhere if spares_flash_market else places
        self._bodies = [_prepared(usual, rng) for _ in range(_PREPARED)]
        self._rate = 0.0
        self._due_s = 0.0
        self._timer = PreciseTimer(self._arrive)
        self._is_closed_loop = False

    async def warm(self) -> None:
        """Open connections, so that the first orders do not include that. Raises `OSError`."""
        each = max(1, _WARM_CONNECTIONS // len(self._nodes))
        for node in self._nodes:
            await node.warm(each)

    def set_rate(self, rate: float) -> None:
        """Set the orders per second; 0: none."""
        self._rate = rate
        self._due_s = time.monotonic()
        self._plan_next()

    def keep_under_way(self, count: int) -> None:
        """Keep so many orders under way: send that many, and one for each that is delivered.

        The drivers of these orders must be this worker's.
        """
        self._log.on_count["delivered"] = self._send_next
        self._is_closed_loop = True
        for _ in range(count):
            self._send_next()

    def _send_next(self) -> None:
        if self._is_closed_loop:
            body = self._bodies[self._number % _PREPARED]
            self._post(body, time.monotonic(), Measure.POST_JOB, self._nodes)

    async def burst(self, count: int, seconds: float) -> None:
        """Send `count` orders of the first mall evenly over `seconds`, besides all others.

        Connections are opened first, as a busy service has them. Raises `OSError`.
        """
        await asyncio.gather(*(node.warm(SALE_CONNECTIONS) for node in self._sale_nodes))
        mall = self._places.flash_mall
        _Burst(self, [_prepared(self._places, self._rng, mall) for _ in range(count)], seconds)

    def order_of_sale(self, body: Body, due_s: float) -> None:
        """Send an order of a flash sale."""
        self._post(body, due_s, Measure.POST_BURST, self._sale_nodes)

    def close(self) -> None:
        """Stop ordering and close the connections."""
        self._is_closed_loop = False
        self._timer.close()
        for node in (*self._nodes, *self._sale_nodes):
            node.close()

    def _plan_next(self) -> None:
        if self._rate > 0:
            self._due_s += self._rng.expovariate(self._rate)
            self._timer.set(self._due_s)

    def _arrive(self) -> None:
        """Send the due orders; a late one keeps the time when it was due."""
        while self._rate > 0 and self._due_s <= time.monotonic():
            body = self._bodies[self._number % _PREPARED]
            self._post(body, self._due_s, Measure.POST_JOB, self._nodes)
            self._due_s += self._rng.expovariate(self._rate)
        if self._rate > 0:
            self._timer.set(self._due_s)

    def _post(
        self,
        body: Body,
        due_s: float,
        measure: Measure,
        nodes: Sequence[HttpNode],
    ) -> None:
        self._number += 1
        name = f"{self._prefix}-{self._number}"
        node = nodes[self._number % len(nodes)]

        def done(status: int, answer: bytes) -> None:
            now_s = time.monotonic()
            if status != 201:
                self._log.failure(measure, due_s, _why(status, answer))
                return
            self._log.sample(measure, due_s, now_s)
            self._log.event(now_s, EventKind.POSTED, json.loads(answer)["id"], due_s, measure.value)

        node.post(_PATH, name, name.encode().join(body), done)


class _Burst:
    """Sends the orders of a flash sale, each when it is due."""

    def __init__(self, orders: Orders, bodies: list[Body], seconds: float) -> None:
        self._orders = orders
        self._bodies = bodies
        self._every_s = seconds / len(bodies)
        self._due_s = time.monotonic()
        self._timer = PreciseTimer(self._arrive)
        self._timer.set(self._due_s)

    def _arrive(self) -> None:
        while self._bodies and self._due_s <= time.monotonic():
            self._orders.order_of_sale(self._bodies.pop(), self._due_s)
            self._due_s += self._every_s
        if self._bodies:
            self._timer.set(self._due_s)
        else:
            self._timer.close()


def _prepared(places: RunPlaces, rng: random.Random, mall: Mall | None = None) -> Body:
    order = json.dumps(places.order(rng, mall))
    return order[:-1].encode() + b', "external_id": "', b'"}'


def _why(status: int, answer: bytes) -> str:
    try:
        return f"{status} {json.loads(answer)['code']}"
    except (ValueError, KeyError, TypeError):
        return str(status) if status else "connection lost"
