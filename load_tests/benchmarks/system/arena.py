"""Starts a contestant with a Redis of its own, loads it with a swarm, and reads its meters."""

import asyncio
import json
import secrets
import sys
import tempfile
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load_tests.benchmarks.benches import CannotMeasure
from load_tests.credentials import Credentials
from load_tests.meters import Meters, Reading
from load_tests.swarm.coordinator import Swarm, SwarmFailed
from load_tests.swarm.flags import ENGINE
from load_tests.swarm.plan import SwarmPlan
from mallard_engine.workload.nodes import EngineFailed, running_nodes, running_redis, running_server

MALLARD: Final = "Mallard"
SINK: Final = "bare sink"
POOL: Final = "minimal, redis-py"
LINE: Final = "minimal, hiredis line"
# Names in the document of contestants whose names in the results are too short.
SHOWN: Final = {POOL: "minimal, pool", LINE: "minimal, one connection"}
PACKAGES: Final = ("uvicorn", "websockets", "uvloop", "httptools", "msgspec", "redis", "hiredis")

_ANSWER_WITHIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running system: its URL and its meters."""

    name: str
    urls: tuple[str, ...]
    credentials: Credentials
    meters: Meters
    # The market of the first mall only.
    markets: tuple[str, ...]
    folder: Path

    def plan(self, **settings: Any) -> SwarmPlan:
        """Return the plan of a swarm against the system."""
        settings.setdefault("connects_per_s", 1000.0)
        return SwarmPlan(urls=self.urls, awaits_welcome=self.name != SINK, **settings)

    def load(self, plan: SwarmPlan, act: Callable[[Swarm], Awaitable[Any]]) -> Any:
        """Run an action with a swarm. Raises `CannotMeasure` if the swarm fails."""

        async def run() -> Any:
            async with Swarm(plan, self.credentials) as swarm:
                return await act(swarm)

        try:
            return asyncio.run(run())
        except SwarmFailed as error:
            raise CannotMeasure(f"{self.name}: {error}") from error

    def edges(self) -> Callable[[], Awaitable[Reading]]:
        """Reads the meters alternately at the start and at the end of a phase."""
        turns = [self.meters.opening, self.meters.closing]

        async def edge() -> Reading:
            reading = turns[0]()
            turns.reverse()
            return reading

        return edge


class Arena:
    """Starts contestants, one at a time. Raises `CannotMeasure`."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(32)
        self._markets: bytes | None = None

    @contextmanager
    def running(self, name: str, *, nodes: int = 1) -> Iterator[Contestant]:
        """Run a contestant on a new folder and a new Redis for the duration of the block."""
        with ExitStack() as started:
            folder = Path(
                started.enter_context(tempfile.TemporaryDirectory(prefix="mallard-bench-"))
            )
            try:
                contestant = self._start(name, nodes, folder, started)
            except EngineFailed as error:
                raise CannotMeasure(f"{name}: {error}") from error
            yield contestant

    def _start(self, name: str, nodes: int, folder: Path, started: ExitStack) -> Contestant:
        redis = None if name == SINK else started.enter_context(running_redis(folder))
        if name == MALLARD:
            environment = {**ENGINE, "MALLARD_SECRET": self._secret}
            servers = started.enter_context(running_nodes(nodes, folder, environment, redis=redis))
        else:
            places = folder / "markets.json"
            places.write_bytes(self._markets_of_an_engine())
            command: list[str | Path] = [sys.executable, "-m", *_module(name)]
            command += ["--markets", places, *(("--redis", redis) if redis else ())]
            servers = [started.enter_context(running_server(command, folder))]
        urls = tuple(server.url for server in servers)
        meters = Meters(
            [server.pid for server in servers],
            redis=redis,
            metrics=urls if name == MALLARD else (),
        )
        markets = tuple(
            market["id"] for market in json.loads(self._markets_of_an_engine())["items"]
        )
        return Contestant(name, urls, Credentials(secret=self._secret), meters, markets, folder)

    def _markets_of_an_engine(self) -> bytes:
        """Return an engine's places, so that all contestants get the same load."""
        if self._markets is None:
            with tempfile.TemporaryDirectory(prefix="mallard-bench-") as folder:
                environment = {**ENGINE, "MALLARD_SECRET": self._secret}
                with running_nodes(1, Path(folder), environment) as nodes:
                    token = Credentials(secret=self._secret).orders
                    request = urllib.request.Request(  # noqa: S310 - our own node
                        f"{nodes[0].url}/v1/markets", headers={"Authorization": f"Bearer {token}"}
                    )
                    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                    with opener.open(request, timeout=_ANSWER_WITHIN_S) as response:
                        self._markets = response.read()
        return self._markets


def _module(name: str) -> tuple[str, ...]:
    if name == SINK:
        return ("load_tests.benchmarks.peers.sink",)
    return ("load_tests.benchmarks.peers.minimal", "--store", "pool" if name == POOL else "line")
