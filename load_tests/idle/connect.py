"""Measure a connect in parts: CPU of the node and of Redis for each step that a client goes."""

import argparse
import asyncio
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from load_tests.benchmarks.system.arena import MALLARD, Arena, Contestant
from load_tests.frames import pack, unpack
from load_tests.meters import Reading
from load_tests.swarm.wire.ws_client import SocketWire

HELP: Final = "the CPU of a connect, in its parts"
STEPS: Final = ("TCP connection", "upgrade", "hello and welcome", "request to be available")
_AT_ONCE: Final = 32
_PATH: Final = "/v1/driver"
_WITHIN_S: Final = 30.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("--drivers", type=int, default=1_000, help="for each step")
    parser.add_argument("--rounds", type=int, default=3, help="of each step; the least counts")


def run(args: argparse.Namespace) -> int:
    """Measure and print; a part has no goal."""
    with Arena().running(MALLARD) as engine:
        costs = asyncio.run(_measure(engine, args.drivers, args.rounds))
    before = (0.0, 0.0)
    for step, cost in zip(STEPS, costs, strict=True):
        node, redis = (now - then for now, then in zip(cost, before, strict=True))
        print(f"{step}: {node:.0f} µs of the node, {redis:.0f} µs of Redis")
        before = cost
    print(f"all: {before[0]:.0f} µs of the node, {before[1]:.0f} µs of Redis")
    return 0


async def _measure(engine: Contestant, drivers: int, rounds: int) -> list[tuple[float, float]]:
    """Return what a connect costs that ends with each step, in µs of the node and of Redis.

    Each is the least of some rounds: whatever else runs on the machine only adds to it.
    """
    costs = []
    for last in range(len(STEPS)):
        each = [await _round(engine, drivers, last, f"{last}-{turn}") for turn in range(rounds)]
        node, redis = zip(*each, strict=True)
        costs.append((min(node), min(redis)))
    return costs


async def _round(engine: Contestant, drivers: int, last: int, name: str) -> tuple[float, float]:
    """Connect drivers up to a step, and return what each costs."""
    clients = [_Client(engine, f"{name}-{number}", last) for number in range(drivers)]
    turn = asyncio.Semaphore(_AT_ONCE)
    before = engine.meters.closing()
    await asyncio.gather(*(client.connect(turn) for client in clients))
    after = engine.meters.closing()
    for client in clients:
        client.abort()
    await asyncio.sleep(1.0)  # their ends are no part of the next round
    return _each_us(before, after, drivers)


def _each_us(before: Reading, after: Reading, drivers: int) -> tuple[float, float]:
    node = (after.engine_cpu_s or 0) - (before.engine_cpu_s or 0)
    redis = (after.redis_cpu_s or 0) - (before.redis_cpu_s or 0)
    return node / drivers * 1e6, redis / drivers * 1e6


class _Client:
    """A driver that stops after a step; its connection stays open."""

    def __init__(self, engine: Contestant, name: str, last: int) -> None:
        self._token = engine.credentials.driver(name, engine.markets[0]).token
        address = urlsplit(engine.urls[0])
        self._address = address.hostname or "", address.port or 0
        self._last = last
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wire = SocketWire(
            address.netloc, _PATH, opened=self._opened, received=self._received, lost=self._lost
        )
        self.abort: Callable[[], None] = self._wire.abort

    async def connect(self, turn: asyncio.Semaphore) -> None:
        """Go all steps up to the last one."""
        loop = asyncio.get_running_loop()
        async with turn, asyncio.timeout(_WITHIN_S):
            if self._last == 0:
                transport, _ = await loop.create_connection(asyncio.Protocol, *self._address)
                self.abort = transport.abort
            else:
                await loop.create_connection(lambda: self._wire, *self._address)
                await self._done

    def _opened(self) -> None:
        if self._last == 1:
            self._done.set_result(None)
        else:
            position = {"lat": 36.17, "lon": -115.14, "acc_m": 5.0}
            self._say("hello", token=self._token, position=position)

    def _received(self, frame: bytes) -> None:
        kind = unpack(frame)["type"]
        if kind == "welcome" and self._last == len(STEPS) - 1:
            self._say("status", id=1, state="available")
        elif self._last > 1 and kind in {"welcome", "reply"} and not self._done.done():
            self._done.set_result(None)

    def _say(self, kind: str, **fields: Any) -> None:
        self._wire.send(pack(kind, **fields))

    def _lost(self, code: int) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError(f"closed with {code}"))
