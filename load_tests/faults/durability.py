"""Measures what each `durability` costs: the times of a submission and of an accept, side by side.

    python -m load_tests.faults.durability --orders 300

A node runs on a master with a replica, both with `appendfsync always`, in turn with each setting.
Orders are posted one at a time, then 16 at a time.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from websockets.asyncio.client import ClientConnection

from load_tests.credentials import Credentials
from load_tests.faults.outage import MARKET, App, Seen, Shop
from mallard_engine.workload.nodes import Node
from mallard_engine.workload.redis_groups import SentinelGroup

_SETTINGS: Final = ("none", "replica", "disk")
_DRIVERS: Final = 40
_AT_ONCE: Final = 16
_WITHIN_S: Final = 60.0


class TimedApp(App):
    """A driver app that notes how long its accepts take."""

    def __init__(self, token: str, seen: Seen, accept_s: list[float]) -> None:
        super().__init__(token, seen)
        self._accept_s = accept_s
        self._asked_s: dict[int, float] = {}

    async def _send(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        if frame["type"] == "accept":
            self._asked_s[frame["id"]] = time.perf_counter()
        await super()._send(socket, frame)

    async def _answered(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        if (asked_s := self._asked_s.pop(frame["id"], None)) is not None:
            self._accept_s.append(time.perf_counter() - asked_s)
        await super()._answered(socket, frame)


async def measure(node: Node, secret: str, orders: int) -> dict[str, list[float]]:
    """Return the times of submissions, alone and together, and of accepts."""
    credentials, seen = Credentials(secret), Seen()
    times: dict[str, list[float]] = {"submit": [], "submit together": [], "accept": []}
    apps = [
        TimedApp(credentials.driver(f"d{n}", MARKET).token, seen, times["accept"])
        for n in range(_DRIVERS)
    ]
    running = [asyncio.create_task(app.run(node.url)) for app in apps]
    shop = Shop([node.url], credentials.orders)

    async def order(kind: str) -> None:
        began_s = time.perf_counter()
        await shop.order()
        times[kind].append(time.perf_counter() - began_s)

    try:
        waits = (app.available.wait() for app in apps)
        await asyncio.wait_for(asyncio.gather(*waits), _WITHIN_S)
        for _ in range(orders):
            await order("submit")
        for _ in range(orders // _AT_ONCE):
            await asyncio.gather(*(order("submit together") for _ in range(_AT_ONCE)))
        await asyncio.sleep(1)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await shop.close()
    return times


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.durability", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--orders", type=int, default=300)
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    print("| durability | call | median, ms | 95 %, ms | calls |\n|---|---|---|---|---|")
    for setting in _SETTINGS:
        with ExitStack() as stack:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="mallard-durability-"))
            synced = {"appendfsync": "always"}
            group = SentinelGroup(replicas=1, persistent=True, options=synced)
            stack.enter_context(group)
            environment = {
                "MALLARD_SECRET": secret,
                "MALLARD_OPENING_HOURS": "off",
                "MALLARD_REDIS_URL": group.url,
                "MALLARD_DURABILITY": setting,
                "MALLARD_LOG_LEVEL": "error",
            }
            node = Node(1, Path(name), environment)
            stack.callback(node.stop)
            node.start()
            for call, found in asyncio.run(measure(node, secret, options.orders)).items():
                late_s = quantiles(found, n=20)[-1]
                print(
                    f"| `{setting}` | {call} | {median(found) * 1000:.1f} | {late_s * 1000:.1f} | "
                    f"{len(found)} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
