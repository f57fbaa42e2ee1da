"""Measures event streams: latency from a change to its listener, and what a listener costs.

    python -m load_tests.events.streams --listeners 500 1000 --rate 100 --runs 10

Nodes and one Redis on loopback. A swarm of drivers carries out `--rate` jobs a second of one
order service, and a stream in each market hears all of their events. Runs without and with so many
further listeners take turns. These are streams of other services (they hear nothing) or, with
`--operators`, of operators (they hear everything of their market). Latency is the time from
`recorded_at` to the arrival at the client, both by this machine's clock, in a resolution of a
millisecond. The generator shares the processors with the node.
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import msgspec
import uvloop

from load_tests.credentials import Credentials
from load_tests.events.beside import (
    ROW,
    Condition,
    Runs,
    add_flags,
    bounded,
    engine,
    is_within,
    latency_goal,
    offers_goal,
    percentile_ms,
    plan_of,
    report_doubts,
    report_goals,
    take_turns,
)
from load_tests.meters import process_bytes, process_cpu_s
from load_tests.places import RunPlaces
from load_tests.swarm.coordinator import Swarm
from mallard_engine.workload.nodes import Node
from mallard_protocol.codes import Role
from mallard_protocol.events import MAX_STREAMS, Event

_CONNECT_AT_ONCE: Final = 50
_IDLE_S: Final = 5.0
_CLOSED_S: Final = 0.5
_HEARD: Final = 0.9
_MOST_MS: Final = 50.0
_event = msgspec.json.Decoder(Event).decode


class Listener:
    """One stream on a bare socket. `delays_s`: of its events, if it reads them."""

    def __init__(self, *, reads: bool = False) -> None:
        self.delays_s: list[float] = []
        self.delivered = 0
        self.has_ended = False
        self.heard = 0
        self._reads = reads
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, node: Node, market: str, token: str) -> None:
        """Open the stream and wait for its first comment."""
        host, _, port = node.url.removeprefix("http://").partition(":")
        reader, self._writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        self._writer.write(
            f"GET /v1/events?market={market} HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        try:
            await reader.readuntil(b": mallard\n\n")
        except asyncio.IncompleteReadError as error:
            raise RuntimeError(f"no stream: {error.partial.decode()}") from None
        self._task = asyncio.create_task(self._read(reader))

    async def close(self) -> None:
        """Close it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._writer is not None:
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                line = await reader.readuntil(b"\n")
                if not line.startswith(b"data: "):
                    continue
                now_s = time.time()
                self.heard += 1
                if self._reads:
                    event = _event(line[6:])
                    self.delays_s.append(now_s - event.recorded_at.timestamp())
                    self.delivered += event.type == "job.delivered"
        self.has_ended = True


@dataclass
class Cost:
    """What so many listeners cost, and when the probe among them heard its events."""

    kib_each: float = 0.0
    idle_cpu: float = 0.0
    delays_s: list[list[float]] = field(default_factory=list)
    delivered: int = 0
    ended: int = 0

    def p99_ms(self) -> list[float]:
        """Return the 99th percentile of each run."""
        return [percentile_ms(run, 99) for run in self.delays_s]

    def row(self) -> str:
        """Return cells: events, the median of the runs' p50 and p99, the largest p99."""
        p50, p99 = (
            [percentile_ms(run, percent) for run in self.delays_s] or [float("nan")]
            for percent in (50, 99)
        )
        return (
            f"{sum(map(len, self.delays_s))} | {statistics.median(p50):.0f} |"
            f" {statistics.median(p99):.0f} ({min(p99):.0f}–{max(p99):.0f}) |"
            f" {self.kib_each:.1f} | {self.idle_cpu:.2%}"
        )


class Listeners:
    """Opens listeners beside the load.

    Args:
        nodes: where, in turn.
        credentials: mints tokens.
        role: whose streams they are.
    """

    def __init__(self, nodes: Sequence[Node], credentials: Credentials, role: Role) -> None:
        self._nodes = nodes
        self._credentials = credentials
        self._role = role
        places = RunPlaces.read(nodes[0].url, credentials.orders)
        self._markets = sorted({mall.market for mall in places.malls})
        self.costs: dict[int, Cost] = {}

    def condition(self, count: int) -> Condition:
        """Return what opens the probes and so many further listeners; 0: nothing at all."""
        self.costs[count] = Cost()

        @asynccontextmanager
        async def beside() -> AsyncIterator[None]:
            if not count:
                yield
                return
            probes = [Listener(reads=True) for _ in self._markets]
            try:
                async with self.listening(count):
                    for number, market in enumerate(self._markets):
                        node = self._nodes[number % len(self._nodes)]
                        await probes[number].open(node, market, self._credentials.orders)
                    yield
                    self.costs[count].ended += sum(probe.has_ended for probe in probes)
            finally:
                for probe in probes:
                    await probe.close()
            delays_s = [delay for probe in probes for delay in probe.delays_s]
            self.costs[count].delays_s.append(delays_s)
            self.costs[count].delivered += sum(probe.delivered for probe in probes)

        return beside

    @asynccontextmanager
    async def listening(self, count: int) -> AsyncIterator[None]:
        """Keep so many listeners open."""
        listeners = [Listener() for _ in range(count)]

        async def open_one(number: int) -> None:
            market = self._markets[number % len(self._markets)]
            subject = f"listener-{number // MAX_STREAMS}"
            token = self._credentials.mint(subject, self._role)
            node = self._nodes[number % len(self._nodes)]
            await listeners[number].open(node, market, token)

        try:
            for start in range(0, count, _CONNECT_AT_ONCE):
                part = range(start, min(count, start + _CONNECT_AT_ONCE))
                await asyncio.gather(*map(open_one, part))
            yield
        finally:
            await asyncio.gather(*(it.close() for it in listeners))
            await asyncio.sleep(_CLOSED_S)

    async def weigh(self, count: int) -> None:
        """Measure what they cost a node that has nothing else to do."""
        async with self.listening(20):  # what the first streams of a node cost is not theirs
            pass
        pids = [node.pid for node in self._nodes]
        before = sum(map(process_bytes, pids))
        async with self.listening(count):
            held = sum(map(process_bytes, pids)) - before
            began_s, before_s = time.monotonic(), sum(map(process_cpu_s, pids))
            await asyncio.sleep(_IDLE_S)
            cpu = (sum(map(process_cpu_s, pids)) - before_s) / (time.monotonic() - began_s)
        cost = self.costs[count]
        cost.kib_each, cost.idle_cpu = held / 1024 / count, cpu


async def measure(
    nodes: Sequence[Node], credentials: Credentials, options: argparse.Namespace
) -> tuple[Mapping[str, Runs], Listeners]:
    """Measure with each number of listeners; none is always among them."""
    role = Role.OPERATOR if options.operators else Role.ORDERS
    listeners = Listeners(nodes, credentials, role)
    counts = sorted({0, *options.listeners})
    conditions = {str(count): listeners.condition(count) for count in counts}
    for count in counts[1:]:
        await listeners.weigh(count)
    async with Swarm(plan_of(nodes, options), credentials) as swarm:
        return await take_turns(swarm, nodes, conditions, options), listeners


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.events.streams", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--listeners", type=int, nargs="+", default=[1, 500])
    parser.add_argument("--operators", action="store_true", help="the listeners hear everything")
    add_flags(parser, rate=100)
    options = parser.parse_args(arguments)
    with engine({}, options.nodes) as (nodes, credentials):
        runs, listeners = uvloop.run(bounded(measure(nodes, credentials, options), options))
    print(f"| listeners | {ROW} | within | events | p50 ms | p99 ms | KiB each | CPU idle |")
    print("|---" * 15 + "|")
    for count, cost in listeners.costs.items():
        own = runs[str(count)]
        within = "yes" if is_within(runs["0"], own) else "no"
        print(f"| {count} | {own.row()} | {within} | {cost.row()} |", flush=True)
    failed = report_doubts(runs)
    for count, cost in listeners.costs.items():
        delivered = sum(it.counts.get("delivered", 0) for it in runs[str(count)].results)
        if count and (cost.ended or cost.delivered < _HEARD * delivered):
            print(
                f"NOT MEASURED {count}: {cost.delivered} of at least {delivered} deliveries heard,"
                f" {cost.ended} streams ended"
            )
            failed = True
    goals = [
        goal
        for count, cost in listeners.costs.items()
        if count
        for goal in (
            latency_goal(f"{count} listeners", cost.p99_ms(), _MOST_MS),
            offers_goal(f"{count} listeners", runs["0"], runs[str(count)]),
        )
    ]
    return 1 if report_goals(goals) or failed else 0


if __name__ == "__main__":
    sys.exit(main())
