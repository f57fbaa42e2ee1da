"""Kills nodes and Redis in turn while an order service listens, and evaluates what it heard.

    python -m load_tests.faults.event_kills --jobs 10000 --kills 20

The service never polls: it follows the events of its market with the Python client and has a
webhook, and submits the next order when it hears that another was delivered. When it hears
`market.rewound`, it submits again, under their keys, what may be lost. Two nodes and Redis are
killed with SIGKILL. At the end each order must be one job, each change of each job must have been
heard at least once in either way, in each job's order by `sequence`, and none may have been
invented; only what a `market.rewound` declares lost may be heard and gone. `mallard check` must
find nothing. Exit status 1 if one of these is missed.
"""

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2
from websockets.exceptions import WebSocketException

from load_tests.credentials import Credentials
from load_tests.faults.heard import Heard, judge, taken_back
from load_tests.faults.hook_receiver import HookProcess
from load_tests.faults.outage import MARKET, App, Seen, Shop, check
from mallard_client.orders.client import OrderClient
from mallard_client.orders.requests import JobBody
from mallard_engine.workload.nodes import Node, RedisProcess, running_nodes

_AWAY_S: Final = 1.0
_POSTING: Final = 8
_READING: Final = 8
_READS: Final = 20
_SHOWN: Final = 20
_POLL_S: Final = 0.1
# What a killed node had taken for delivery falls due again after 20 s, and what has failed after
# about 5 s and a minute, each up to a fifth later: if so long nothing new is heard, nothing comes.
_SILENCE_S: Final = 20.0 + 1.2 * (5.0 + 60.0)
# So many jobs may be open as far as the webhook says: the backlog of the last ones is bounded too.
_BEHIND: Final = 500
_READ_S: Final = 0.5
_FAILS: Final = 0.02
_UNBOUNDED: Final = {
    "MALLARD_OPENING_HOURS": "off",
    "MALLARD_SERVICE_RATE_PER_S": "0",
    "MALLARD_SERVICE_OPEN_JOBS": "0",
    "MALLARD_SERVICE_STORED_BYTES": "0",
    "MALLARD_WEBHOOK_ALLOW": "127.0.0.0/8",
}

Stories = Mapping[str, Sequence[Mapping[str, Any]]]


class Service:
    """The order service: what it submits, and what it hears."""

    def __init__(
        self, urls: Sequence[str], token: str, hook: HookProcess, options: argparse.Namespace
    ) -> None:
        self.shop = Shop(urls, token)
        self.stream = Heard()
        self.hook = hook
        self._urls = urls
        self._token = token
        self._jobs: int = options.jobs
        self._open: int = options.open
        self._begun = 0
        self._again: set[asyncio.Task[None]] = set()
        self.repeated = 0
        self.made_anew = 0

    async def listen(self) -> None:
        """Follow the market until cancelled."""
        async with OrderClient(self._urls, self._token) as orders:
            async for event in orders.events(MARKET):
                self.stream.take(event)
                if lost := self.shop.outbox.rewound(event):
                    task = asyncio.create_task(self._submit_again(lost))
                    self._again.add(task)
                    task.add_done_callback(self._again.discard)

    async def _submit_again(self, lost: Mapping[str, JobBody]) -> None:
        for key, order in lost.items():
            self.repeated += 1
            self.made_anew += await self.shop.submit(key, order)

    async def subscribe(self) -> None:
        """Make the endpoint."""
        body = {"url": self.hook.url, "types": []}
        answer = await self.shop.http.post(f"{self._urls[0]}/v1/webhooks", json=body)
        answer.raise_for_status()
        self.hook.start(answer.json()["secret"])

    async def read_hook(self) -> None:
        """Read what the webhook's receiver has heard, until cancelled."""
        while True:
            self.hook.read()
            await asyncio.sleep(_READ_S)

    async def post(self) -> None:
        """Submit orders, as long as few enough are open as far as it has heard."""
        while self._begun < self._jobs:
            is_behind = self._begun - len(self.hook.heard.delivered) >= _BEHIND
            if is_behind or self._begun - len(self.stream.delivered) >= self._open:
                await asyncio.sleep(0.02)
                continue
            self._begun += 1
            await self.shop.order()

    async def run(self, kills: asyncio.Task[None]) -> list[str]:
        """Submit all, wait until all is heard, and return what failed."""
        await asyncio.gather(*(self.post() for _ in range(_POSTING)), kills)
        await self._hear(self._all_delivered)
        stories = await read_stories(self.shop)
        ways = {"stream": self.stream, "webhook": self.hook.heard}
        began_s, before = time.monotonic(), len(self.hook.heard.changes)
        await self._hear(
            lambda: _is_all(self.stream, stories) and _is_all(self.hook.heard, stories)
        )
        print(
            f"the webhook heard its last {len(self.hook.heard.changes) - before} changes"
            f" {time.monotonic() - began_s:.0f} s after the end",
            flush=True,
        )
        failures = [f"{way}: {it}" for way, heard in ways.items() for it in judge(heard, stories)]
        if len(stories) < self._jobs:
            failures.append(f"{len(stories)} jobs of {self._jobs} exist")
        failures += await self._misfits()
        print(
            f"{self.repeated} orders submitted again after lost writes,"
            f" {self.made_anew} of them were gone",
            flush=True,
        )
        if self.hook.refused:
            failures.append(f"{self.hook.refused} webhooks with a wrong signature")
        for way, heard in ways.items():
            print(
                f"{way}: {heard.events} events, {len(heard.changes)} changes of"
                f" {len(stories)} jobs, {heard.repeats} heard again,"
                f" {taken_back(heard, stories)} taken back, {len(heard.rewound)} rewinds",
                flush=True,
            )
        return failures

    async def _hear(self, is_enough: Callable[[], bool]) -> None:
        """Wait until enough is heard, or nothing new was for so long that nothing more comes."""
        seen, changed_s = -1, time.monotonic()
        while not is_enough() and time.monotonic() < changed_s + _SILENCE_S:
            now = self.stream.events + self.hook.read().events
            if now != seen:
                seen, changed_s = now, time.monotonic()
            await asyncio.sleep(_POLL_S)

    def _all_delivered(self) -> bool:
        delivered = self.stream.delivered
        return not self._again and all(job in delivered for _, job in self.shop.jobs)

    async def _misfits(self) -> list[str]:
        """Return what is wrong with the orders of which the engine has jobs."""
        async with OrderClient(self._urls, self._token) as orders:
            listed = Counter([job.external_id async for job in orders.jobs(market=MARKET)])
        return [
            *(f"order {it} is {count} jobs" for it, count in listed.items() if count > 1),
            *(f"order {it} is no job" for it in self.shop.keys - listed.keys()),
            *(f"order {it} was never submitted" for it in listed.keys() - self.shop.keys),
        ]


async def read_stories(shop: Shop) -> Stories:
    """Return the timeline of each job of a shop as the engine has it."""
    stories: dict[str, Sequence[Mapping[str, Any]]] = {}
    turns = asyncio.Semaphore(_READING)

    async def read(url: str, job: str) -> None:
        for _ in range(_READS):
            async with turns:
                answer = await shop.http.get(f"{url}/v1/jobs/{job}")
            if answer.status_code == httpx2.codes.OK:
                stories[job] = answer.json()["timeline"]
                return
            if answer.status_code == httpx2.codes.NOT_FOUND:
                return
            await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))

    await asyncio.gather(*(read(url, job) for url, job in shop.jobs))
    return stories


def _is_all(heard: Heard, stories: Stories) -> bool:
    """Whether enough was heard that it is worth to compare; `judge` says whether it is right."""
    return len(heard.changes) >= sum(map(len, stories.values()))


async def kill_in_turn(
    nodes: Sequence[Node], server: RedisProcess, shop: Shop, options: argparse.Namespace
) -> None:
    """Kill a node or Redis each time that so many more orders are submitted."""
    for number in range(options.kills):
        due = (number + 1) * options.jobs // (options.kills + 1)
        while len(shop.jobs) < due:  # noqa: ASYNC110 - orders arrive by HTTP
            await asyncio.sleep(_POLL_S)
        if number % 2:
            server.kill()
            await asyncio.sleep(_AWAY_S)
            await asyncio.to_thread(server.start)
        else:
            node = nodes[number // 2 % len(nodes)]
            node.kill()
            await asyncio.sleep(_AWAY_S)
            await asyncio.to_thread(node.restart)
        print(f"kill {number + 1}, of {'Redis' if number % 2 else node.name}", flush=True)


async def kills(
    nodes: Sequence[Node],
    server: RedisProcess,
    hook: HookProcess,
    secret: str,
    options: argparse.Namespace,
) -> list[str]:
    """Run the test; return what failed."""
    urls = [node.url for node in nodes]
    credentials = Credentials(secret)
    service = Service(urls, credentials.orders, hook, options)
    apps = [
        App(credentials.driver(f"d{number}", MARKET).token, Seen())
        for number in range(options.drivers)
    ]
    await service.subscribe()
    tasks = [asyncio.create_task(service.listen()), asyncio.create_task(service.read_hook())]
    tasks += [asyncio.create_task(drive(app, urls, n)) for n, app in enumerate(apps)]
    killing = asyncio.create_task(kill_in_turn(nodes, server, service.shop, options))
    tasks.append(killing)
    try:
        await asyncio.sleep(1)
        async with asyncio.timeout(options.within):
            return await service.run(killing)
    except TimeoutError:
        left = options.jobs - len(service.stream.delivered)
        return [f"{left} jobs were not delivered within {options.within:g} s"]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service.shop.close()


async def drive(app: App, urls: Sequence[str], number: int) -> None:
    """Keep an app connected to any node."""
    while True:
        with contextlib.suppress(OSError, WebSocketException):
            await app.run(urls[number % len(urls)])
        number += 1
        await asyncio.sleep(0.2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.event_kills", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--drivers", type=int, default=80)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--open", type=int, default=60, help="jobs that are open at a time")
    parser.add_argument("--within", type=float, default=1_100.0, help="seconds for all of it")
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    environment = {"MALLARD_SECRET": secret, **_UNBOUNDED}
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mallard-event-kills-") as name:
        folder = Path(name)
        server, hook = RedisProcess(folder), HookProcess(folder, _FAILS)
        try:
            server.start()
            with running_nodes(2, folder, environment, redis=server.socket) as nodes:
                failures = asyncio.run(kills(nodes, server, hook, secret, options))
                for failure in failures[:_SHOWN]:
                    print(f"FAILED: {failure}", flush=True)
                found = check(server, folder)
                print(*found, sep="\n")
        finally:
            server.stop()
            hook.close()
    failures += found
    print(f"{time.monotonic() - began_s:.0f} s, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
