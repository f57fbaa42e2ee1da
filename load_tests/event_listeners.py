"""Measures event streams: latency from a change to its listener, and what a listener costs.

    python -m load_tests.event_listeners --listeners 0 500 1000 --rate 100

One node and one Redis on loopback. An order service submits `--rate` jobs a second, in an open
loop, and one stream hears them; `--listeners` more streams are open meanwhile, of other services
(they hear nothing) or, with `--operators`, of operators (they hear everything). Latency is the time
from `recorded_at` to the arrival at the client, both by this machine's clock, in a resolution of a
millisecond. The generator shares the processors with the node.
"""

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from load_tests.credentials import Credentials
from load_tests.meters import process_bytes, process_cpu_s
from mallard_engine.workload.nodes import Node, running_nodes, running_redis
from mallard_protocol.codes import Role
from mallard_protocol.events import MAX_STREAMS, Event

MARKET: Final = "phoenix"
_ORDER: Final = {
    "pickup": {"mall": "chandler-fashion-center", "stores": [{"store": "lego"}]},
    "dropoff": {"lat": 33.3197, "lon": -111.8412},
}
_CONNECT_AT_ONCE: Final = 20
_SETTLE_S: Final = 2.0
_event = msgspec.json.Decoder(Event).decode


@dataclass(frozen=True, slots=True)
class Row:
    """What one number of listeners costs."""

    listeners: int
    heard: int
    p50_ms: float
    p99_ms: float
    kib_each: float
    idle_cpu: float
    busy_cpu: float

    def __str__(self) -> str:
        return (
            f"| {self.listeners} | {self.heard} | {self.p50_ms:.0f} | {self.p99_ms:.0f} |"
            f" {self.kib_each:.1f} | {self.idle_cpu:.1%} | {self.busy_cpu:.1%} |"
        )


class Listener:
    """One stream on a bare socket. `delays_s`: of its events, if it reads them."""

    def __init__(self, *, reads: bool = False) -> None:
        self.delays_s: list[float] = []
        self.heard = 0
        self._reads = reads
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, node: Node, token: str) -> None:
        """Open the stream and wait for its first comment."""
        host, _, port = node.url.removeprefix("http://").partition(":")
        reader, self._writer = await asyncio.open_connection(host, int(port), limit=1 << 20)
        self._writer.write(
            f"GET /v1/events?market={MARKET} HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        await reader.readuntil(b": mallard\n\n")
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
                    recorded: datetime = _event(line[6:]).recorded_at
                    self.delays_s.append(now_s - recorded.timestamp())


async def measure(
    node: Node, credentials: Credentials, count: int, args: argparse.Namespace
) -> Row:
    """Measure with so many further listeners."""
    before = process_bytes(node.pid)
    listeners = [Listener() for _ in range(count)]
    tokens = [
        credentials.mint(
            f"listener-{number // MAX_STREAMS}", Role.OPERATOR if args.operators else Role.ORDERS
        )
        for number in range(count)
    ]
    probe, service = Listener(reads=True), credentials.service("busy")
    try:
        for start in range(0, count, _CONNECT_AT_ONCE):
            part = slice(start, start + _CONNECT_AT_ONCE)
            await asyncio.gather(
                *(
                    it.open(node, token)
                    for it, token in zip(listeners[part], tokens[part], strict=True)
                )
            )
        await asyncio.sleep(_SETTLE_S)
        held = process_bytes(node.pid) - before
        idle_cpu = await _cpu_of(node, asyncio.sleep(args.seconds))
        await probe.open(node, service)
        busy_cpu = await _cpu_of(node, _submit(node, service, args.rate, args.seconds))
        await asyncio.sleep(_SETTLE_S)
    finally:
        await asyncio.gather(*(it.close() for it in (probe, *listeners)))
    delays = sorted(probe.delays_s)
    return Row(
        count,
        len(delays) + sum(it.heard for it in listeners),
        delays[len(delays) // 2] * 1000,
        delays[len(delays) * 99 // 100] * 1000,
        held / 1024 / max(1, count),
        idle_cpu,
        busy_cpu,
    )


async def _cpu_of(node: Node, work: Coroutine[None, None, None]) -> float:
    """Return the share of one processor that the node uses while something is awaited."""
    began_s, before_s = time.monotonic(), process_cpu_s(node.pid)
    await work
    return (process_cpu_s(node.pid) - before_s) / (time.monotonic() - began_s)


async def _submit(node: Node, token: str, rate: float, seconds: float) -> None:
    """Submit orders at a steady rate, however long each takes."""
    async with httpx2.AsyncClient(
        base_url=node.url, trust_env=False, timeout=30, headers={"Authorization": f"Bearer {token}"}
    ) as http:
        tasks, began_s = [], time.monotonic()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0, began_s + number / rate - time.monotonic()))
            headers = {"Idempotency-Key": secrets.token_hex(8)}
            tasks.append(asyncio.create_task(http.post("/v1/jobs", json=_ORDER, headers=headers)))
        answers = await asyncio.gather(*tasks)
    refused = [it.status_code for it in answers if it.status_code != httpx2.codes.CREATED]
    if refused:
        raise RuntimeError(f"{len(refused)} orders were refused: {refused[:3]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.event_listeners", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--listeners", type=int, nargs="+", default=[0, 500, 1000])
    parser.add_argument("--rate", type=float, default=100.0, help="jobs a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--operators", action="store_true", help="the listeners hear everything")
    args = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    environment = {
        "MALLARD_SECRET": secret,
        "MALLARD_OPENING_HOURS": "off",
        "MALLARD_SERVICE_RATE_PER_S": "0",
        "MALLARD_MAX_CONNECTIONS_PER_ADDRESS": "5000",
    }
    print("| listeners | events heard | p50 ms | p99 ms | KiB each | CPU idle | CPU busy |")
    print("|---|---|---|---|---|---|---|")
    for count in args.listeners:
        with (
            tempfile.TemporaryDirectory(prefix="mallard-listeners-") as name,
            running_redis(Path(name)) as redis,
            running_nodes(1, Path(name), environment, redis=redis) as (node,),
        ):
            print(asyncio.run(measure(node, Credentials(secret), count, args)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
