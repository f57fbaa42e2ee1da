"""Runs a contestant with a Redis of its own."""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import uvloop

from load_tests.benchmarks.answering import Answer, answer_all
from mallard_engine.workload.nodes import running_redis


class OnRedis(Protocol):
    """A contestant with a connection to Redis."""

    @property
    def answers(self) -> Mapping[str, Answer]:
        """Return the answers by question."""
        ...

    async def close(self) -> None:
        """Close the connections."""


def answer_on_redis(contestant: Callable[[Path], OnRedis]) -> int:
    """Start a server, create the contestant on its socket, and answer until the input ends."""
    with (
        tempfile.TemporaryDirectory(prefix="mallard-") as folder,
        running_redis(Path(folder)) as socket,
    ):
        uvloop.run(_answer(contestant, socket))
    return 0


async def _answer(contestant: Callable[[Path], OnRedis], socket: Path) -> None:
    made = contestant(socket)
    try:
        await answer_all(made.answers)
    finally:
        await made.close()
