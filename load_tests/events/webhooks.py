"""Measures webhooks: latency from a change to its receiver, with endpoints that are dead or slow.

    python -m load_tests.events.webhooks --endpoints 100 --dead 10 --slow 10 --rate 40

Nodes and one Redis on loopback. Each endpoint belongs to an order service of its own; a swarm of
drivers carries out `--rate` jobs a second of these services in turn. A job that nobody declines is
five events. Runs without endpoints, with healthy ones alone, and with some that are dead or slow
take turns. Dead endpoints have no server, slow ones answer after `--slow-s`. Latency is the time
from `recorded_at` to the arrival of the request at a healthy receiver, both by this machine's
clock, in a resolution of a millisecond. After each run the jobs come to their ends, and every
change of each must have arrived. Generator and receivers share the processors with the node.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
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
from load_tests.swarm.coordinator import Swarm
from load_tests.swarm.worker import service_name
from mallard_engine.workload.nodes import Node
from mallard_protocol.events import Event

_TYPES: Final = (
    "job.created",
    "job.queued",
    "job.offered",
    "job.assigned",
    "job.arrived",
    "job.picked_up",
    "job.delivered",
)
_BUSY: Final = (429, 503)
_TRIES: Final = 20
_DRAIN_S: Final = 20.0
_ARRIVE_S: Final = 20.0
_MOST_MS: Final = 250.0
_LEASED_S: Final = 2.0
_ANSWER: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_event = msgspec.json.Decoder(Event).decode


@dataclass
class Receivers:
    """One server for all receivers: `/quick/…` answers at once, `/slow/…` after a while."""

    slow_s: float
    delays_s: list[float] = field(default_factory=list)
    heard: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
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
                    event = _event(body)
                    self.delays_s.append(now_s - event.recorded_at.timestamp())
                    self.heard[str(event.job)].add(event.id)
                writer.write(_ANSWER)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass  # the client has hung up, or the measurement is over
        finally:
            writer.close()


@dataclass
class Kind:
    """One number of dead and slow endpoints, and how its runs went."""

    endpoints: int
    dead: int = 0
    slow: int = 0
    delays_s: list[list[float]] = field(default_factory=list)
    missing: int = 0
    wanted: int = 0

    @property
    def healthy(self) -> int:
        """How many endpoints are neither."""
        return self.endpoints - self.dead - self.slow

    def __str__(self) -> str:
        return f"{self.healthy} healthy, {self.dead} dead, {self.slow} slow"

    def p99_ms(self) -> list[float]:
        """Return the 99th percentile of each run at healthy receivers."""
        return [percentile_ms(run, 99) for run in self.delays_s]

    def row(self) -> str:
        """Return cells: deliveries, those that are missing, p50 and p99."""
        p50, p99 = (
            [percentile_ms(run, percent) for run in self.delays_s] or [float("nan")]
            for percent in (50, 99)
        )
        return (
            f"{self.wanted - self.missing} of {self.wanted} | {statistics.median(p50):.0f} |"
            f" {statistics.median(p99):.0f} ({min(p99):.0f}–{max(p99):.0f})"
        )


class Endpoints:
    """Makes endpoints beside the load, and deletes them.

    Args:
        node: where.
        credentials: mints the services' tokens.
        slow_s: how long a slow receiver takes.
    """

    def __init__(self, node: Node, credentials: Credentials, slow_s: float) -> None:
        self._http = httpx2.AsyncClient(base_url=node.url, trust_env=False, timeout=30)
        self._credentials = credentials
        self._slow_s = slow_s

    async def close(self) -> None:
        """Hang up."""
        await self._http.aclose()

    def condition(self, kind: Kind, swarm: Swarm) -> Condition:
        """Return what keeps such endpoints."""

        @asynccontextmanager
        async def beside() -> AsyncIterator[None]:
            if not kind.endpoints:
                yield
                return
            receivers = Receivers(self._slow_s)
            server = await asyncio.start_server(receivers.serve, "127.0.0.1", 0)
            made = await self._make(kind, server.sockets[0].getsockname()[1])
            since = await self._newest(range(kind.dead + kind.slow, kind.endpoints))
            # Events of the second before a node leases a new endpoint wait for that lease.
            await asyncio.sleep(_LEASED_S)
            receivers.delays_s.clear()
            try:
                yield
                kind.delays_s.append(list(receivers.delays_s))
                print(
                    f"{kind}: p50 {percentile_ms(receivers.delays_s, 50):.0f} ms, p99"
                    f" {percentile_ms(receivers.delays_s, 99):.0f} ms",
                    file=sys.stderr,
                )
                await swarm.drain(_DRAIN_S)
                await self._judge(kind, receivers, since)
            finally:
                for token, webhook in made:
                    await self._call("DELETE", f"/v1/webhooks/{webhook}", token)
                server.close()

        return beside

    async def _make(self, kind: Kind, port: int) -> list[tuple[str, str]]:
        dead = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
        dead_port = dead.sockets[0].getsockname()[1]
        dead.close()
        await dead.wait_closed()
        made = []
        for number in range(kind.endpoints):
            url = f"http://127.0.0.1:{port}/quick/{number}"
            if number < kind.dead:
                url = f"http://127.0.0.1:{dead_port}/"
            elif number < kind.dead + kind.slow:
                url = f"http://127.0.0.1:{port}/slow/{number}"
            token = self._token(number)
            answer = await self._call(
                "POST", "/v1/webhooks", token, json={"url": url, "types": _TYPES}
            )
            made.append((token, answer["id"]))
        return made

    async def _newest(self, services: Sequence[int]) -> dict[int, set[str]]:
        """Return the jobs of services that exist already."""
        return {it: {job["id"] for job in await self._jobs(it)} for it in services}

    async def _judge(self, kind: Kind, receivers: Receivers, known: Mapping[int, set[str]]) -> None:
        """Count the changes of new jobs, and wait for those that have not arrived."""
        jobs = [
            job
            for service, before in known.items()
            for job in await self._jobs(service)
            if job["id"] not in before
        ]
        ends_s = time.monotonic() + _ARRIVE_S
        while (  # noqa: ASYNC110 - requests arrive meanwhile
            missing := _missing(jobs, receivers)
        ) and time.monotonic() < ends_s:
            await asyncio.sleep(0.2)
        kind.missing += missing
        kind.wanted += sum(len(job["timeline"]) for job in jobs)

    async def _jobs(self, service: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self._call(
                "GET", "/v1/jobs", self._token(service), params={"limit": "200", **cursor}
            )
            found += page["items"]
            if not page.get("next_cursor"):
                return found
            cursor = {"cursor": page["next_cursor"]}

    async def _call(self, method: str, path: str, token: str, **rest: Any) -> Any:
        """Call the engine, again as long as it says that it is busy."""
        headers = {"Authorization": f"Bearer {token}"}
        for _ in range(_TRIES):
            answer = await self._http.request(method, path, headers=headers, **rest)
            if answer.status_code not in _BUSY:
                break
            await asyncio.sleep(0.5)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _token(self, service: int) -> str:
        return self._credentials.service(service_name(service))


def _missing(jobs: Sequence[dict[str, Any]], receivers: Receivers) -> int:
    """Return how many changes of jobs were not delivered."""
    return sum(max(0, len(it["timeline"]) - len(receivers.heard[it["id"]])) for it in jobs)


async def measure(
    nodes: Sequence[Node], credentials: Credentials, options: argparse.Namespace
) -> tuple[Mapping[str, Runs], Sequence[Kind]]:
    """Measure without endpoints, with healthy ones, and with dead and slow ones among them."""
    kinds = [
        Kind(0),
        Kind(options.endpoints),
        Kind(options.endpoints, options.dead, options.slow),
    ]
    endpoints = Endpoints(nodes[0], credentials, options.slow_s)
    try:
        async with Swarm(plan_of(nodes, options, options.endpoints), credentials) as swarm:
            conditions = {
                str(number): endpoints.condition(kind, swarm) for number, kind in enumerate(kinds)
            }
            return await take_turns(swarm, nodes, conditions, options), kinds
    finally:
        await endpoints.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.events.webhooks", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--dead", type=int, default=10)
    parser.add_argument("--slow", type=int, default=10)
    parser.add_argument("--slow-s", type=float, default=9.0, help="a slow endpoint's answer")
    add_flags(parser, rate=40)
    options = parser.parse_args(arguments)
    with engine({"MALLARD_WEBHOOK_ALLOW": "127.0.0.0/8"}, options.nodes) as (
        nodes,
        credentials,
    ):
        runs, kinds = uvloop.run(bounded(measure(nodes, credentials, options), options))
    print(f"| healthy | dead | slow | {ROW} | within | delivered | p50 ms | p99 ms |")
    print("|---" * 15 + "|")
    for number, kind in enumerate(kinds):
        own = runs[str(number)]
        within = "yes" if is_within(runs["0"], own) else "no"
        print(
            f"| {kind.healthy} | {kind.dead} | {kind.slow} | {own.row()} | {within} |"
            f" {kind.row()} |",
            flush=True,
        )
    is_doubtful = report_doubts(runs)
    return 1 if report_goals(goals(runs, kinds)) or is_doubtful else 0


def goals(runs: Mapping[str, Runs], kinds: Sequence[Kind]) -> Iterator[tuple[str, bool]]:
    """Yield the goals for each number of endpoints, and whether they hold."""
    for number, kind in list(enumerate(kinds))[1:]:
        yield latency_goal(str(kind), kind.p99_ms(), _MOST_MS)
        yield offers_goal(str(kind), runs["0"], runs[str(number)])
        yield f"{kind}: {kind.missing} of {kind.wanted} changes are missing", not kind.missing
    _, healthy, troubled = kinds
    if troubled.dead or troubled.slow:
        most_ms = max(healthy.p99_ms(), default=0.0)
        usual = f"as beside healthy ones alone ({most_ms:.0f} ms at most)"
        seen_ms = statistics.median(troubled.p99_ms() or [float("nan")])
        yield f"{troubled}: p99 {seen_ms:.0f} ms, {usual}", seen_ms <= most_ms


if __name__ == "__main__":
    sys.exit(main())
