"""Kills Redis repeatedly under the open sockets of two nodes, and evaluates what apps saw.

    python -m load_tests.faults.outage --drivers 2000 --kills 10 --away 5

Goals: no socket closed, the first offer within `--within` seconds of Redis's return, every
accepted job delivered, and no violation found by `mallard check`. Exit status 1 if one is missed.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from load_tests.credentials import Credentials
from mallard_client.orders.outbox import Outbox
from mallard_client.orders.requests import JobBody
from mallard_engine.workload.nodes import Node, RedisProcess, running_nodes
from mallard_protocol.codes import SUBPROTOCOL_JSON
from mallard_protocol.resources import Job

MARKET: Final = "phoenix"
MALL: Final = "chandler-fashion-center"
NEAR: Final = (33.31, -111.90)
HOME: Final = {"lat": 33.3197, "lon": -111.8412}
_CONNECT_AT_ONCE: Final = 32
_LOCATION_S: Final = 4.0
_SETTLE_S: Final = 60.0
_MOST_CONNECTIONS: Final = 2_000
_job = msgspec.json.Decoder(Job).decode


@dataclass
class Seen:
    """What all apps saw; times are of `time.monotonic`."""

    offers: list[float] = field(default_factory=list)
    closed: Counter[int] = field(default_factory=Counter)
    welcomes: int = 0
    accepted: set[str] = field(default_factory=set)
    delivered: set[str] = field(default_factory=set)
    # Of the jobs that two drivers have delivered; of the steps that were refused for good, the job
    # and why; and how often a request over HTTP was to come later.
    delivered_twice: set[str] = field(default_factory=set)
    refused: list[tuple[str, str]] = field(default_factory=list)
    put_off: int = 0
    gaps: int = 0
    _by: dict[str, str] = field(default_factory=dict)
    _known: set[str] = field(default_factory=set)

    def offered(self, offer: str) -> None:
        """Note an offer, unless it is known: a `welcome` repeats it."""
        if offer not in self._known:
            self._known.add(offer)
            self.offers.append(time.monotonic())

    def deliver(self, job: str, driver: str) -> None:
        """Note that a driver's delivery was confirmed."""
        self.delivered.add(job)
        if self._by.setdefault(job, driver) != driver:
            self.delivered_twice.add(job)

    async def next_offer(self, after: int) -> float:
        """Return when the first offer after ``after`` arrived; a minute from now without one."""
        ends_s = time.monotonic() + _SETTLE_S
        while len(self.offers) <= after and time.monotonic() < ends_s:  # noqa: ASYNC110 - a poll
            await asyncio.sleep(0.005)
        return self.offers[after] if len(self.offers) > after else ends_s


class App:
    """A driver app that accepts and carries out every offer, and repeats unanswered requests.

    Args:
        token: the driver's.
        seen: counts what the app receives.
        near: where the driver is, roughly.
        step_s: how long a step takes. At 0 a driver delivers within milliseconds. After an outage
            the first driver whom the engine knows again would then get every order, and exceed
            the rate limit.
    """

    def __init__(
        self, token: str, seen: Seen, near: tuple[float, float] = NEAR, *, step_s: float = 0.0
    ) -> None:
        self._token = token
        self._seen = seen
        self._ids = itertools.count(1)
        self._asked: dict[int, dict[str, Any]] = {}
        self._seq = 0
        self._holds: dict[str, dict[str, Any]] = {}
        self._place = [each + random.uniform(-0.02, 0.02) for each in near]
        self._step_s = step_s
        self._steps: set[asyncio.Task[None]] = set()
        self.available = asyncio.Event()

    async def run(self, url: str) -> None:
        """Stay connected until cancelled; a close is recorded and final."""
        self._seen.closed[await self.stay(url)] += 1

    async def stay(self, url: str) -> int:
        """Stay connected, and return the code of the close."""
        async with connect(
            f"{url.replace('http', 'ws', 1)}/v1/driver",
            subprotocols=[SUBPROTOCOL_JSON],  # type: ignore[list-item]
            additional_headers={"Authorization": f"Bearer {self._token}"},
            ping_interval=None,
            compression=None,
            proxy=None,
            open_timeout=60,
            close_timeout=1,
        ) as socket:
            await self._hello(socket)
            reporting = asyncio.create_task(self._report(socket))
            try:
                async for frame in socket:
                    await self._take(socket, json.loads(frame))
            except ConnectionClosed:
                pass
            finally:
                for task in (reporting, *self._steps):
                    task.cancel()
            return socket.close_code or 1006

    async def _hello(self, socket: ClientConnection) -> None:
        lat, lon = self._place
        holds = list(self._holds.values())
        position = {"lat": lat, "lon": lon}
        await self._send(socket, {"type": "hello", "position": position, "holds": holds})

    async def _report(self, socket: ClientConnection) -> None:
        while True:
            await asyncio.sleep(_LOCATION_S * random.uniform(0.8, 1.2))
            lat, lon = self._place
            fix = [int(time.time() * 1000), lat + random.uniform(0, 1e-5), lon, 5.0, None, None]
            await self._send(socket, {"type": "location", "fixes": [fix]})
            for request in list(self._asked.values()):
                await self._send(socket, request)

    async def _take(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "welcome":
                await self._welcomed(socket, frame)
            case "ping":
                await self._send(socket, {"type": "pong"})
            case "offer":
                self._follow(frame)
                self._seen.offered(frame["offer"])
                await self._ask(socket, "accept", offer=frame["offer"])
            case "reply":
                await self._answered(socket, frame)
            case "error" if not frame["retry"]:
                request = self._asked.pop(frame["id"], {})
                if request.get("type") == "progress":
                    why = f"{request['step']}: {frame['code']}"
                    self._seen.refused.append((request["job"], why))
            case "job" | "state" | "offer_closed":
                self._follow(frame)
            case _:
                pass

    def _follow(self, frame: dict[str, Any]) -> None:
        self._seen.gaps += frame["seq"] != self._seq + 1
        self._seq = frame["seq"]

    async def _welcomed(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        self._seen.welcomes += 1
        self._seq = frame["seq"]
        if frame.get("say_hello"):
            await self._hello(socket)
            return
        for job in frame["jobs"]:
            self._holds.setdefault(job["job"], {}).update(
                job=job["job"], attempt=job["attempt"], state=job["state"]
            )
        if frame["state"] == "offline":
            await self._ask(socket, "status", state="available")
        elif frame["state"] == "available":
            self.available.set()
        if frame["offer"]:
            self._seen.offered(frame["offer"]["offer"])
            await self._ask(socket, "accept", offer=frame["offer"]["offer"])

    async def _answered(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        request = self._asked.pop(frame["id"], None)
        if request is None:
            return
        if request["type"] == "status":
            self.available.set()
        for job in frame.get("jobs", ()):
            self._seen.accepted.add(job["job"])
            held = {"job": job["job"], "attempt": job["attempt"]}
            self._holds[job["job"]] = {**held, "state": job["state"]}
            self._step_later(socket, **held, step="picked_up")
        if request["type"] == "progress":
            job, state = frame["job"], frame["job_state"]
            if state == "delivered":
                self._seen.deliver(job, self._token)
                self._holds.pop(job, None)
            elif request["step"] == "picked_up":
                held = {"job": job, "attempt": frame["attempt"]}
                self._holds[job] = {**held, "state": state}
                self._step_later(socket, **held, step="delivered")

    def _step_later(self, socket: ClientConnection, **fields: Any) -> None:
        async def report() -> None:
            await asyncio.sleep(self._step_s * random.uniform(0.8, 1.2))
            with contextlib.suppress(ConnectionClosed):
                await self._ask(socket, "progress", **fields)

        task = asyncio.create_task(report())
        self._steps.add(task)
        task.add_done_callback(self._steps.discard)

    async def _ask(self, socket: ClientConnection, kind: str, **fields: Any) -> None:
        number = next(self._ids)
        self._asked[number] = {"type": kind, "id": number, **fields}
        await self._send(socket, self._asked[number])

    async def _send(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        await socket.send(json.dumps(frame))


class Shop:
    """Posts orders to the nodes in turn until one accepts."""

    def __init__(
        self,
        urls: Sequence[str],
        token: str,
        mall: str = MALL,
        home: Mapping[str, float] = HOME,
    ) -> None:
        self._mall, self._home = mall, home
        self._urls = itertools.cycle(urls)
        self.http = httpx2.AsyncClient(
            trust_env=False,
            timeout=30,
            # More than orders wait for Redis: one must not wait for a connection of ours.
            limits=httpx2.Limits(max_connections=_MOST_CONNECTIONS),
            headers={"Authorization": f"Bearer {token}"},
        )
        self.outbox = Outbox()
        self._by_key: dict[str, tuple[str, str]] = {}
        # When each job was confirmed, by the clock of this machine.
        self.confirmed_ms: dict[str, float] = {}
        # How long each order took, and for how long it was refused if it was.
        self.took_s: list[float] = []
        self.refused_s: list[float] = []

    @property
    def jobs(self) -> list[tuple[str, str]]:
        """The job of each order, and a node."""
        return list(self._by_key.values())

    @property
    def keys(self) -> AbstractSet[str]:
        """The keys of the orders, which are their `external_id` as well."""
        return self._by_key.keys()

    async def close(self) -> None:
        """Hang up."""
        await self.http.aclose()

    async def order(self) -> None:
        """Post one order, with the same key until a node has accepted it."""
        key = secrets.token_hex(8)
        body = {
            "pickup": {"mall": self._mall, "stores": [{"store": "lego"}]},
            "dropoff": {**self._home, "name": "Ada", "address": "1 Main St", "contact": "555"},
            "external_id": key,
        }
        await self.submit(key, body)

    async def submit(self, key: str, body: JobBody) -> bool:
        """Post an order until a node has accepted it; return whether it made another job of it."""
        began_s, refused_s = time.monotonic(), 0.0
        while True:
            url = next(self._urls)
            try:
                answer = await self.http.post(
                    f"{url}/v1/jobs", json=body, headers={"Idempotency-Key": key}
                )
            except httpx2.TransportError:  # for example an idle connection that was just closed
                continue
            if answer.status_code == httpx2.codes.CREATED:
                job = _job(answer.content)
                _, was = self._by_key.get(key, ("", ""))
                self._by_key[key] = url, job.id
                self.confirmed_ms[job.id] = time.time() * 1000
                self.outbox.add(key, body, job)
                self.took_s.append(time.monotonic() - began_s)
                if refused_s:
                    self.refused_s.append(time.monotonic() - refused_s)
                return bool(was) and was != job.id
            refused_s = refused_s or time.monotonic()
            await asyncio.sleep(0.05)

    async def unfinished(self) -> list[str]:
        """Return the jobs that are not delivered."""
        left = []
        for url, job in self.jobs:
            try:
                state = (await self.http.get(f"{url}/v1/jobs/{job}")).json().get("state")
            except httpx2.TransportError:
                state = None
            if state != "delivered":
                left.append(job)
        return left


async def outages(
    nodes: Sequence[Node], server: RedisProcess, secret: str, options: argparse.Namespace
) -> list[str]:
    """Run the test; return what failed."""
    seen, urls = Seen(), [node.url for node in nodes]
    credentials = Credentials(secret)
    shop = Shop(urls, credentials.orders)
    apps = [App(credentials.driver(f"d{n}", MARKET).token, seen) for n in range(options.drivers)]
    running: list[asyncio.Task[None]] = []
    waits: list[float] = []
    try:
        for start in range(0, len(apps), _CONNECT_AT_ONCE):
            batch = apps[start : start + _CONNECT_AT_ONCE]
            running += [
                asyncio.create_task(app.run(urls[n % len(urls)])) for n, app in enumerate(batch)
            ]
            await asyncio.wait_for(
                asyncio.gather(*(app.available.wait() for app in batch)), _SETTLE_S
            )
        for number in range(1, options.kills + 1):
            await asyncio.gather(*(shop.order() for _ in range(10)))  # under way when it is killed
            server.kill()
            await asyncio.sleep(options.away)
            # Offers from before that are repeated do not count.
            orders = [asyncio.create_task(shop.order()) for _ in range(10)]
            server.start()
            back_s, offers = time.monotonic(), len(seen.offers)
            await asyncio.gather(*orders)
            waits.append(await seen.next_offer(offers) - back_s)
            print(f"kill {number}: first offer after {waits[-1]:.2f} s, closed {dict(seen.closed)}")
            await asyncio.sleep(options.between)
        left = await _settled(shop)
        return _judge(seen, waits, left, options)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await shop.close()


async def _settled(shop: Shop) -> list[str]:
    ends_s = time.monotonic() + _SETTLE_S
    while (left := await shop.unfinished()) and time.monotonic() < ends_s:  # noqa: ASYNC110 - HTTP
        await asyncio.sleep(1)
    return left


def _judge(
    seen: Seen, waits: Sequence[float], left: Sequence[str], options: argparse.Namespace
) -> list[str]:
    print(
        f"{options.drivers} sockets, {len(waits)} kills of {options.away:g} s: first offer after "
        f"{max(waits):.2f} s at most; {seen.welcomes} welcomes, {len(seen.delivered)} delivered"
    )
    failures = []
    if seen.closed:
        failures.append(f"sockets closed: {dict(seen.closed)}")
    if max(waits) > options.within:
        failures.append(f"an offer came only after {max(waits):.2f} s")
    if left:
        failures.append(f"{len(left)} jobs not delivered: {left[:5]}")
    if seen.gaps:
        failures.append(f"{seen.gaps} pushes were missed or came twice")
    return failures


def check(server: RedisProcess, folder: Path) -> list[str]:
    """Return the findings of `mallard check`."""
    url = f"unix://{server.socket}"
    found = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "mallard_engine", "check", "--redis", url, "--data", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    print(found.stdout.strip())
    return [] if found.returncode == 0 else [f"mallard check: {found.stdout[-500:]}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.outage", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--drivers", type=int, default=2_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--away", type=float, default=5.0, help="seconds without the store")
    parser.add_argument("--between", type=float, default=10.0, help="seconds between two kills")
    parser.add_argument("--within", type=float, default=1.0, help="seconds to the first offer")
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    environment = {"MALLARD_SECRET": secret, "MALLARD_OPENING_HOURS": "off"}
    with tempfile.TemporaryDirectory(prefix="mallard-outage-") as name:
        folder = Path(name)
        server = RedisProcess(folder)
        try:
            server.start()
            with running_nodes(2, folder, environment, redis=server.socket) as nodes:
                failures = asyncio.run(outages(nodes, server, secret, options))
                failures += check(server, folder)
        finally:
            server.stop()
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
