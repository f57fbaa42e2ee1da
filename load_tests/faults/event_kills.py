"""Kills a node and the store in turn while an order service listens, and evaluates what it heard.

    python -m load_tests.faults.event_kills --jobs 200 --kills 6

The service never polls: it follows the events of its market with the Python client. At the end each
change of each job must have been heard at least once, in each job's order by `sequence`, and none
may have been invented; only what a `market.rewound` declares lost may be heard and gone. Exit
status 1 if one of these is missed.
"""

import argparse
import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx2
from websockets.exceptions import WebSocketException

from load_tests.credentials import Credentials
from load_tests.faults.outage import MARKET, App, Seen, Shop
from mallard_client.orders.client import OrderClient
from mallard_engine.workload.nodes import Node, RedisProcess, running_nodes
from mallard_protocol.events import Event

_SETTLE_S: Final = 90.0
_AWAY_S: Final = 1.0
# The state of a job after an event that is a change of state.
_STATES: Final = {
    "job.created": "queued",
    "job.queued": "queued",
    "job.offered": "offered",
    "job.assigned": "assigned",
    "job.arrived": "at_mall",
    "job.picked_up": "picked_up",
    "job.delivered": "delivered",
}


@dataclass
class Heard:
    """What the service heard: its events by id, and up to when lost writes were certainly kept."""

    events: dict[str, Event] = field(default_factory=dict)
    repeats: int = 0
    rewound: list[datetime] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Note an event."""
        self.repeats += event.id in self.events
        self.events[event.id] = event
        if event.type == "market.rewound":
            self.rewound.append(datetime.fromisoformat(event.data["since"]))

    def may_be_lost(self, event: Event) -> bool:
        """Whether a loss of writes that readers were told of may have taken the event back."""
        return any(since <= event.recorded_at for since in self.rewound)


async def listen(urls: Sequence[str], token: str, heard: Heard) -> None:
    """Follow the market until cancelled."""
    async with OrderClient(urls, token) as orders:
        async for event in orders.events(MARKET):
            heard.take(event)


async def kills(
    nodes: Sequence[Node], server: RedisProcess, secret: str, options: argparse.Namespace
) -> list[str]:
    """Run the test; return what failed."""
    urls = [node.url for node in nodes]
    credentials = Credentials(secret)
    shop, heard = Shop(urls, credentials.orders), Heard()
    apps = [
        App(credentials.driver(f"d{number}", MARKET).token, Seen())
        for number in range(options.drivers)
    ]
    tasks = [asyncio.create_task(listen(urls, credentials.orders, heard))]
    tasks += [asyncio.create_task(_drive(app, urls, n)) for n, app in enumerate(apps)]
    try:
        await asyncio.sleep(1)
        for number in range(options.kills):
            orders = [
                asyncio.create_task(shop.order()) for _ in range(options.jobs // options.kills)
            ]
            if number % 2:
                server.kill()
                await asyncio.sleep(_AWAY_S)
                server.start()
            else:
                await asyncio.to_thread(nodes[number // 2 % len(nodes)].restart)
            await asyncio.gather(*orders)
            await asyncio.sleep(options.between)
        await _settled(shop)
        stories = await _stories(shop)
        await _all_heard(heard, stories)
        return judge(heard, stories)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await shop.close()


async def _drive(app: App, urls: Sequence[str], number: int) -> None:
    """Keep an app connected to any node."""
    while True:
        with contextlib.suppress(OSError, WebSocketException):
            await app.run(urls[number % len(urls)])
        number += 1
        await asyncio.sleep(0.2)


async def _settled(shop: Shop) -> None:
    ends_s = time.monotonic() + _SETTLE_S
    while await shop.unfinished() and time.monotonic() < ends_s:  # noqa: ASYNC110 - HTTP
        await asyncio.sleep(1)


async def _stories(shop: Shop) -> dict[str, list[dict[str, Any]]]:
    """Return the timeline of each job as the engine has it."""
    stories: dict[str, list[dict[str, Any]]] = {}
    for url, job in shop.jobs:
        answer = await shop.http.get(f"{url}/v1/jobs/{job}")
        if answer.status_code == httpx2.codes.OK:
            stories[job] = answer.json()["timeline"]
    return stories


async def _all_heard(heard: Heard, stories: dict[str, list[dict[str, Any]]]) -> None:
    """Wait until the last change of each job was heard."""
    ends_s = time.monotonic() + 15
    while time.monotonic() < ends_s:
        if not [it for it in judge(heard, stories) if "was not heard" in it]:
            return
        await asyncio.sleep(0.5)


def judge(heard: Heard, stories: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Compare what was heard with what the engine tells of each job."""
    by_job: defaultdict[str, list[Event]] = defaultdict(list)
    for event in heard.events.values():
        if event.type in _STATES:
            by_job[str(event.job)].append(event)
    failures = []
    for job, timeline in stories.items():
        events = sorted(by_job[job], key=lambda event: event.sequence)
        kept = [event for event in events if not heard.may_be_lost(event)]
        told = [_STATES[event.type] for event in events]
        lived = [entry["state"] for entry in timeline]
        if not _is_part(lived, told):
            failures.append(f"{job} was {lived}, and a change was not heard: {told}")
        if not _is_part([_STATES[event.type] for event in kept], lived):
            failures.append(f"{job} was {lived}, and something else was heard: {told}")
        if any(a.sequence >= b.sequence for a, b in pairwise(events)):
            failures.append(f"{job}: a sequence was used twice")
    unknown = by_job.keys() - stories.keys() - _lost(by_job, heard)
    failures += [f"{job} was invented" for job in unknown]
    print(f"{len(stories)} jobs, {len(heard.events)} events heard, {heard.repeats} of them twice")
    return failures


def _lost(by_job: dict[str, list[Event]], heard: Heard) -> set[str]:
    return {job for job, events in by_job.items() if all(map(heard.may_be_lost, events))}


def _is_part(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether a sequence is in another, in order and with gaps."""
    rest = iter(whole)
    return all(any(item == other for other in rest) for item in part)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the test and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="load_tests.faults.event_kills", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--drivers", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--between", type=float, default=3.0, help="seconds between two kills")
    options = parser.parse_args(arguments)
    secret = secrets.token_hex(32)
    environment = {"MALLARD_SECRET": secret, "MALLARD_OPENING_HOURS": "off"}
    with tempfile.TemporaryDirectory(prefix="mallard-event-kills-") as name:
        folder = Path(name)
        server = RedisProcess(folder)
        try:
            server.start()
            with running_nodes(2, folder, environment, redis=server.socket) as nodes:
                failures = asyncio.run(kills(nodes, server, secret, options))
        finally:
            server.stop()
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
