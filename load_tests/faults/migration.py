"""Moves a market's slot between the primaries of a cluster while orders flow.

    python -m load_tests.faults.migration --migrations 3

The slot moves key by key, as `redis-cli --cluster reshard` does it. Goals: no order refused for
longer than a second, every confirmed order delivered, no socket closed, and no violation found by
`mallard check`. A line of a table; exit status 1 if a goal is missed.
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
from typing import Final

from load_tests.faults.failover import KEY, Failovers, check
from mallard_engine.workload.nodes import Node
from mallard_engine.workload.redis_groups import ClusterGroup, ask

_NODES: Final = 2
_DOWN_AFTER_MS: Final = 2_000
_HEAD: Final = (
    "| migrations | drivers, orders a second posted | orders a second | confirmed | keys moved, at "
    "most | a migration took, at most | slowest order | orders refused, for at most | forgotten | "
    "undelivered | sockets closed | check |"
)


class Migrations(Failovers):
    """Orders and drivers as in a failover; what happens is that the market's slot moves."""

    def __init__(self, group: ClusterGroup, nodes: Sequence[Node], secret: str) -> None:
        super().__init__(group, nodes, secret, "migrated")
        self.cluster = group
        self.keys: list[int] = []
        self.move_s: list[float] = []

    async def disturb(self, number: int) -> None:
        """Move the slot to the next primary."""
        await asyncio.to_thread(self._move, number)
        print(
            f"migration {number}: {self.keys[-1]} keys in {self.move_s[-1]:.2f} s; orders refused: "
            f"{len(self.shop.refused_s)}",
            flush=True,
        )
        await asyncio.sleep(4)

    def _move(self, number: int) -> None:
        group, slot = self.cluster, self.cluster.slot_of(KEY)
        source = group.primary_of(KEY)
        others = [
            it
            for it in group.live()
            if it is not source and group.client(it).info("replication")["role"] == "master"
        ]
        self.keys.append(ask(group.client(source), "CLUSTER", "COUNTKEYSINSLOT", slot))
        began_s = time.monotonic()
        group.migrate(KEY, others[number % len(others)])
        self.move_s.append(time.monotonic() - began_s)


async def _measure(
    run: Migrations, folder: Path, options: argparse.Namespace
) -> tuple[str, list[str]]:
    try:
        await run.run(options.migrations, options.minutes, options.rate, options.drivers)
        # Here, as the servers that a thread has started end with it.
        failures = await asyncio.to_thread(check, run.cluster.url, folder)
        gone, open_jobs = await run.left()
    finally:
        await run.shop.close()
    closed, refused = dict(run.seen.closed), run.shop.refused_s
    longest_s = max(refused, default=0.0)
    line = (
        f"| {len(run.move_s)} | {options.drivers}, {options.rate:g} | "
        f"{len(run.shop.jobs) / run.ordered_s:.1f} | {len(run.shop.jobs)} | {max(run.keys)} | "
        f"{max(run.move_s):.2f} s | {max(run.shop.took_s):.2f} s | {len(refused)}, "
        f"{longest_s:.2f} s | {len(gone)} | {len(open_jobs)} | {closed or 0} | "
        f"{'breaches' if failures else 'no breach'} |"
    )
    if longest_s > 1.0:
        failures.append(f"an order was refused for {longest_s:.2f} s")
    if gone:
        failures.append(f"{len(gone)} confirmed orders forgotten: {gone[:5]}")
    if open_jobs:
        failures.append(f"{len(open_jobs)} jobs not delivered: {open_jobs[:5]}")
    if closed:
        failures.append(f"sockets closed: {closed}")
    return line, failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.migration", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--migrations", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=3.0, help="most for the migrations")
    parser.add_argument("--rate", type=float, default=60.0, help="orders a second")
    parser.add_argument("--drivers", type=int, default=300)
    parser.add_argument("--binary", type=Path, help="another Redis server, such as Debian's")
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    group = ClusterGroup(binary=options.binary, persistent=True, down_after_ms=_DOWN_AFTER_MS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mallard-move-")))
        stack.enter_context(group)
        environment = {
            "MALLARD_SECRET": secret,
            "MALLARD_OPENING_HOURS": "off",
            "MALLARD_REDIS_URL": group.url,
            "MALLARD_LOG_LEVEL": "warning",
        }
        nodes = [Node(number, folder, environment) for number in range(1, _NODES + 1)]
        for node in nodes:
            stack.callback(node.stop)
            node.start()

        async def run() -> tuple[str, list[str]]:
            return await _measure(Migrations(group, nodes, secret), folder, options)

        line, failures = asyncio.run(run())
    for failure in failures:
        print(f"FAILED: {failure}")
    print("\n".join((_HEAD, "|---" * (_HEAD.count("|") - 1) + "|", line)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
