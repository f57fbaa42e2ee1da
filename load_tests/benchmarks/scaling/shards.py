"""Measures what orders in three markets cost on one Redis server and on a cluster of three.

    python -m load_tests.benchmarks.scaling.shards --rate 60 --seconds 30

Orders are spread evenly over the markets, each of which is on another primary of the cluster; one
node takes all of them. The rate is the same for both, so the figures are CPU for each order.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from load_tests.credentials import Credentials
from load_tests.faults.outage import App, Seen, Shop
from load_tests.meters import process_cpu_s
from load_tests.users.tables import table
from mallard_engine.workload.nodes import Node
from mallard_engine.workload.redis_groups import ClusterGroup, SentinelGroup

_WITHIN_S: Final = 60.0
_WARM_S: Final = 3.0


class Place(NamedTuple):
    """Where a market's orders are picked up and go to, and where its drivers are."""

    mall: str
    home: dict[str, float]
    near: tuple[float, float]


PLACES: Final = {
    "phoenix": Place(
        "chandler-fashion-center", {"lat": 33.3197, "lon": -111.8412}, (33.31, -111.90)
    ),
    "northern-virginia": Place(
        "tysons-corner-center", {"lat": 38.9187, "lon": -77.2311}, (38.92, -77.22)
    ),
    "las-vegas": Place(
        "fashion-show-las-vegas", {"lat": 36.1280, "lon": -115.1710}, (36.13, -115.17)
    ),
}


class Cost(NamedTuple):
    """CPU for each order (ms): the node, all servers, and the busiest; orders a second."""

    node: float
    servers: float
    busiest: float
    a_second: float


async def _load(node: Node, pids: Sequence[int], secret: str, options: argparse.Namespace) -> Cost:
    credentials, seen = Credentials(secret), Seen()
    drivers = options.drivers // len(PLACES)
    apps = [
        App(credentials.driver(f"d{n}", market).token, seen, place.near)
        for market, place in PLACES.items()
        for n in range(drivers)
    ]
    shops = [
        Shop([node.url], credentials.orders, place.mall, place.home) for place in PLACES.values()
    ]
    running = [asyncio.create_task(app.run(node.url)) for app in apps]
    orders: set[asyncio.Task[None]] = set()

    async def order(shop: Shop) -> None:
        next_s = time.monotonic()
        while True:
            task = asyncio.create_task(shop.order())
            orders.add(task)
            task.add_done_callback(orders.discard)
            next_s += len(shops) / options.rate
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))

    ordering: list[asyncio.Task[None]] = []
    try:
        waits = (app.available.wait() for app in apps)
        await asyncio.wait_for(asyncio.gather(*waits), _WITHIN_S)
        ordering = [asyncio.create_task(order(shop)) for shop in shops]
        await asyncio.sleep(_WARM_S)
        before = [process_cpu_s(pid) for pid in (node.pid, *pids)]
        began_s, known = time.monotonic(), len(seen.delivered)
        await asyncio.sleep(options.seconds)
        after = [process_cpu_s(pid) for pid in (node.pid, *pids)]
        seconds, done = time.monotonic() - began_s, len(seen.delivered) - known
    finally:
        everything = (*ordering, *orders, *running)
        for task in everything:
            task.cancel()
        await asyncio.gather(*everything, return_exceptions=True)
        for shop in shops:
            await shop.close()
    spent = [(b - a) * 1000 / max(done, 1) for a, b in zip(before, after, strict=True)]
    return Cost(spent[0], sum(spent[1:]), max(spent[1:]), done / seconds)


def measure(shards: int, options: argparse.Namespace) -> Cost:
    """Return the cost on one server, or on a cluster of three."""
    secret = secrets.token_hex(32)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mallard-shards-")))
        group: SentinelGroup | ClusterGroup
        group = (SentinelGroup if shards == 1 else ClusterGroup)(0, persistent=True)
        stack.enter_context(group)
        environment = {
            "MALLARD_SECRET": secret,
            "MALLARD_OPENING_HOURS": "off",
            "MALLARD_REDIS_URL": group.url,
            "MALLARD_LOG_LEVEL": "error",
        }
        node = Node(1, folder, environment)
        stack.callback(node.stop)
        node.start()
        return asyncio.run(_load(node, [each.pid for each in group.servers], secret, options))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both in turn and print a table."""
    parser = argparse.ArgumentParser(
        prog="load_tests.benchmarks.scaling.shards", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--rate", type=float, default=60.0, help="orders a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--drivers", type=int, default=150)
    options = parser.parse_args(arguments)
    rows = []
    for shards in (1, 3):
        cost = measure(shards, options)
        rows.append([str(shards), *(f"{each:.2f}" for each in cost)])
    head = ["shards", "node, ms an order", "Redis, ms", "busiest server, ms", "orders a second"]
    print(table("orders in three markets", head, rows))


if __name__ == "__main__":
    main()
