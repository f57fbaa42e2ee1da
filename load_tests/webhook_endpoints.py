"""Measures webhooks: latency from a change to its receiver, with endpoints that are dead or slow.

    python -m load_tests.webhook_endpoints --endpoints 100 --dead 10 --slow 10 --rate 200

One node and one Redis on loopback. Each endpoint belongs to a service of its own; the services
submit `--rate` jobs a second in turn, four in a request, in an open loop. Each job is one event
(`job.created`).
Dead endpoints have no server, slow ones answer after `--slow-s`. Latency is the time from
`recorded_at` to the arrival of the request at a healthy receiver, both by this machine's clock, in
a resolution of a millisecond. Generator and receivers share the processors with the node.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from load_tests.credentials import Credentials
from load_tests.meters import process_bytes, process_cpu_s
from mallard_engine.workload.nodes import Node, running_nodes, running_redis
from mallard_protocol.events import Event

_ORDER: Final = {
    "pickup": {"mall": "chandler-fashion-center", "stores": [{"store": "lego"}]},
    "dropoff": {"lat": 33.3197, "lon": -111.8412},
}
_TOGETHER: Final = 4
_SETTLE_S: Final = 2.0
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_event = msgspec.json.Decoder(Event).decode


@dataclass
class Receivers:
    """One server for all receivers: `/quick/…` answers at once, `/slow/…` after a while."""

    slow_s: float
    port: int = 0
    delays_s: list[float] = field(default_factory=list)
    slow: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                now_s = time.time()
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = await reader.readexactly(size)
                if b"/slow/" in head:
                    self.slow += 1
                    await asyncio.sleep(self.slow_s)
                else:
                    self.delays_s.append(now_s - _event(body).recorded_at.timestamp())
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the client has hung up, or the measurement is over
        finally:
            writer.close()


async def measure(node: Node, credentials: Credentials, args: argparse.Namespace) -> str:
    """Return one row of the table."""
    receivers = Receivers(args.slow_s)
    server = await asyncio.start_server(receivers.serve, "127.0.0.1", 0)
    dead = await asyncio.start_server(receivers.serve, "127.0.0.1", 0)
    port, dead_port = (it.sockets[0].getsockname()[1] for it in (server, dead))
    dead.close()
    await dead.wait_closed()
    tokens = [credentials.service(f"service-{number}") for number in range(args.endpoints)]
    async with httpx2.AsyncClient(base_url=node.url, trust_env=False, timeout=30) as http:
        for number, token in enumerate(tokens):
            url = f"http://127.0.0.1:{port}/quick/{number}"
            if number < args.dead:
                url = f"http://127.0.0.1:{dead_port}/"
            elif number < args.dead + args.slow:
                url = f"http://127.0.0.1:{port}/slow/{number}"
            answer = await http.post(
                "/v1/webhooks", json={"url": url, "types": ["job.created"]}, headers=_bearer(token)
            )
            answer.raise_for_status()
        await asyncio.sleep(_SETTLE_S)
        before, before_s, began_s = (
            process_bytes(node.pid), process_cpu_s(node.pid), time.monotonic(),
        )  # fmt: skip
        submitting_s = await _submit(http, tokens, args.rate, args.seconds)
        cpu = (process_cpu_s(node.pid) - before_s) / (time.monotonic() - began_s)
        await asyncio.sleep(_SETTLE_S)
        grown = (process_bytes(node.pid) - before) / 2**20
    server.close()
    bad = args.dead + args.slow
    healthy = args.endpoints - bad
    requests = range(int(args.rate * args.seconds / _TOGETHER))
    wanted = sum(_TOGETHER for number in requests if number % args.endpoints >= bad)
    delays = sorted(receivers.delays_s) or [float("nan")]
    return (
        f"| {healthy} | {args.dead} | {args.slow} | {len(receivers.delays_s)} of {wanted} |"
        f" {delays[len(delays) // 2] * 1000:.0f} | {delays[len(delays) * 99 // 100] * 1000:.0f} |"
        f" {submitting_s[0] * 1000:.0f} | {submitting_s[1] * 1000:.0f} | {cpu:.0%} | {grown:.0f} |"
    )


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def _submit(
    http: httpx2.AsyncClient, tokens: Sequence[str], rate: float, seconds: float
) -> tuple[float, float]:
    """Submit orders at a steady rate; return median and 99th percentile of their time, seconds."""
    times: list[float] = []

    async def order(number: int) -> None:
        started_s = time.monotonic()
        headers = _bearer(tokens[number % len(tokens)])
        items = [{"key": secrets.token_hex(8), "job": _ORDER} for _ in range(_TOGETHER)]
        answer = await http.post("/v1/jobs:batch", json={"items": items}, headers=headers)
        answer.raise_for_status()
        times.append(time.monotonic() - started_s)

    tasks, began_s = [], time.monotonic()
    for number in range(int(rate * seconds / _TOGETHER)):
        await asyncio.sleep(max(0, began_s + number * _TOGETHER / rate - time.monotonic()))
        tasks.append(asyncio.create_task(order(number)))
    await asyncio.gather(*tasks)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.webhook_endpoints", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--dead", type=int, nargs="+", default=[0, 10])
    parser.add_argument("--slow", type=int, nargs="+", default=[0, 10])
    parser.add_argument("--slow-s", type=float, default=9.0, help="a slow endpoint's answer")
    parser.add_argument("--rate", type=float, default=200.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    environment = {
        "MALLARD_SECRET": secret,
        "MALLARD_OPENING_HOURS": "off",
        "MALLARD_SERVICE_RATE_PER_S": "0",
        "MALLARD_MAX_CONNECTIONS_PER_ADDRESS": "5000",
        "MALLARD_WEBHOOK_ALLOW": "127.0.0.0/8",
    }
    print("| healthy | dead | slow | delivered | p50 ms | p99 ms | POST p50 | p99 | CPU | MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for dead, slow in zip(args.dead, args.slow, strict=True):
        one = argparse.Namespace(**(vars(args) | {"dead": dead, "slow": slow}))
        with (
            tempfile.TemporaryDirectory(prefix="mallard-webhooks-") as name,
            running_redis(Path(name)) as redis,
            running_nodes(1, Path(name), environment, redis=redis) as (node,),
        ):
            print(asyncio.run(measure(node, Credentials(secret), one)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
