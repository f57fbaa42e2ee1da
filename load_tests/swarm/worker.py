"""A worker process of the swarm, with its share of the drivers and the orders.

The coordinator starts it with the file descriptor of a socket for its commands; the worker ends
when that socket closes.
"""

import asyncio
import contextlib
import gc
import random
import resource
import secrets
import socket
import sys
import time
from typing import Any, Final

import uvloop

from load_tests.credentials import BadCredentials, Credentials, DriverToken
from load_tests.places import NoPlaces, RunPlaces
from load_tests.priority import lower_priority
from load_tests.swarm.driver import WorkerContext
from load_tests.swarm.event_log import EventLog
from load_tests.swarm.fleet import Fleet
from load_tests.swarm.orders import SALE_CONNECTIONS, Orders
from load_tests.swarm.plan import SwarmPlan
from load_tests.swarm.wire.framed_pipe import receive, send
from load_tests.swarm.wire.http_client import HttpNode

_SEND_EVERY_S: Final = 0.25
_LAG_EVERY_S: Final = 0.05


class Worker:
    """Carries out commands, and sends its log four times a second."""

    def __init__(self, writer: asyncio.StreamWriter, setup: dict[str, Any]) -> None:
        self._writer = writer
        plan = SwarmPlan.from_wire(setup["plan"])
        lower_priority(plan.nice)
        credentials = credentials_from_wire(setup["credentials"])
        places = RunPlaces.read(
            plan.urls[0], credentials.orders, markets=plan.markets, malls=plan.malls
        )
        self._log = EventLog()
        self._lag_s = 0.0
        number = setup["worker"]
        rng = random.Random(f"{plan.seed} {number}")
        loop = asyncio.get_running_loop()
        context = WorkerContext(
            plan, plan.habits, self._log, rng, loop, self._came_online, self._rejected
        )
        self._fleet = Fleet(context, places, credentials, number)
        tokens = [credentials.orders]
        if plan.services > 1:
            tokens = [credentials.service(service_name(it)) for it in range(plan.services)]
        nodes = [HttpNode(url, token) for token in tokens for url in plan.urls]
        sale = [HttpNode(url, credentials.orders, SALE_CONNECTIONS) for url in plan.urls]
        # An external id can be used only once.
        prefix = f"{plan.name}-{secrets.token_hex(5)}-{number}"
        self._orders = Orders(
            nodes, sale, places, self._log, rng, prefix, spares_flash_market=plan.crowd > 0
        )
        self._tasks = [loop.create_task(self._send_logs()), loop.create_task(self._watch_lag())]

    def do(self, kind: str, what: Any) -> None:
        """Carry out a command of the coordinator."""
        match kind:
            case "connect":
                self._tasks.append(asyncio.get_running_loop().create_task(self._connect()))
            case "send_log":
                self._send_log()
            case "report":
                self._fleet.start_reporting()
            case "rate":
                self._orders.set_rate(what)
            case "under_way":
                self._orders.keep_under_way(what)
            case "burst":
                self._tasks.append(asyncio.get_running_loop().create_task(self._burst(*what)))

    def close(self) -> None:
        """Close all connections."""
        for task in self._tasks:
            task.cancel()
        self._orders.close()
        self._fleet.hang_up()

    async def _connect(self) -> None:
        if self._fleet.drivers:
            send(self._writer, "drivers", len(self._fleet.drivers))
        with contextlib.suppress(OSError):  # the orders will fail with it
            await self._orders.warm()
        await self._fleet.connect()

    async def _burst(self, count: int, seconds: float) -> None:
        try:
            await self._orders.burst(count, seconds)
        except OSError as error:
            send(self._writer, "failed", f"no connection for a flash sale: {error}")

    def _came_online(self) -> None:
        if self._fleet.came_online():
            # A full collection of 5,000 drivers takes tens of milliseconds, which would be measured
            # as the engine's latency.
            gc.collect()
            gc.freeze()

    def _rejected(self, why: str) -> None:
        send(self._writer, "failed", f"the engine rejected a driver: {why}")

    async def _send_logs(self) -> None:
        while True:
            await asyncio.sleep(_SEND_EVERY_S)
            self._send_log()

    def _send_log(self) -> None:
        """Send the log up to now."""
        lag_s, self._lag_s = self._lag_s, 0.0
        log = self._log.take() | {"until_s": time.monotonic(), "lag_s": lag_s}
        log |= {"online": self._fleet.online, "cpu_s": time.process_time()}
        send(self._writer, "log", log)

    async def _watch_lag(self) -> None:
        while True:
            asked_s = time.monotonic() + _LAG_EVERY_S
            await asyncio.sleep(_LAG_EVERY_S)
            self._lag_s = max(self._lag_s, time.monotonic() - asked_s)


def service_name(number: int) -> str:
    """Return the subject of one of several order services."""
    return f"load-orders-{number}"


def credentials_to_wire(credentials: Credentials) -> dict[str, Any]:
    """Return credentials as plain data for a worker on this machine."""
    return {
        "secret": credentials.secret,
        "orders": credentials.orders_token,
        "drivers": [(it.driver, it.market, it.token) for it in credentials.driver_tokens],
    }


def credentials_from_wire(wire: dict[str, Any]) -> Credentials:
    """Return the credentials of `credentials_to_wire`."""
    drivers = tuple(DriverToken(*it) for it in wire["drivers"])
    return Credentials(wire["secret"], wire["orders"], None, drivers)


async def _work(number: int) -> None:
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=number))
    said = await receive(reader)
    if said is None:
        return
    try:
        worker = Worker(writer, said[1])
    except (BadCredentials, NoPlaces) as error:
        send(writer, "failed", str(error))
        await writer.drain()
        return
    try:
        send(writer, "ready")
        while (said := await receive(reader)) is not None:
            worker.do(*said)
    finally:
        worker.close()
        writer.close()


def main() -> None:
    """Work until the coordinator closes the socket."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(KeyboardInterrupt):  # the coordinator receives it too
        uvloop.run(_work(int(sys.argv[1])))


if __name__ == "__main__":
    main()
