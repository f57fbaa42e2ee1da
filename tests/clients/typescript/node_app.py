"""The TypeScript client as the app of a scenario."""

import asyncio
import contextlib
import re
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from tests.clients.apps import BACKOFF, LIVENESS, TokenProvider
from tests.clients.typescript.agents import Agent, Link, NodeLink
from tests.support import GUARD_S


class NodeApp:
    """A driver app in Node; a `tests.clients.apps.ScenarioApp`.

    Args:
        url: the engine's address.
        tokens: what the client gets its tokens from.
        options: of the client, by their names in Python.
        subprotocol: of the socket.
    """

    def __init__(
        self,
        url: str,
        tokens: TokenProvider,
        options: dict[str, Any],
        subprotocol: str = "mallard.v1.msgpack",
    ) -> None:
        self._tokens = tokens
        self._folder = tempfile.TemporaryDirectory(prefix="mallard-node-")
        self._setup = {
            "url": url,
            "file": str(Path(self._folder.name) / "state.json"),
            "subprotocol": subprotocol,
            "options": _camel({"backoff": BACKOFF, "liveness": LIVENESS, **options}),
        }
        self._step_ms = 0
        self._agent: Agent | None = None

    @property
    def agent(self) -> Agent:
        """The agent that runs."""
        assert self._agent is not None
        return self._agent

    async def start(self) -> None:
        self._agent = Agent(self._tokens)
        self._agent.linked(await self._open(self._agent), self._setup)
        if self._step_ms:
            self._agent.tell("phone", step_ms=self._step_ms)

    async def stop(self) -> None:
        if self._agent is not None:
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(self._agent.ask("stop"), GUARD_S)
            await self._agent.end()
        self._folder.cleanup()

    async def kill(self) -> None:
        # What was asked for before has happened; there is no goodbye.
        await self.agent.ask("shows", names=[])
        await self.agent.end()

    def accept(self, offer: Any) -> Awaitable[Any]:
        return self.agent.ask("accept", offer=offer.offer)

    def decline(self, offer: Any) -> Awaitable[Any]:
        """Refuse an offer."""
        return self.agent.ask("decline", offer=offer.offer)

    def status(self, wish: str) -> Awaitable[Any]:
        return self.agent.ask("status", wish=wish)

    def progress(self, job: str, step: str, at_ms: int, **fields: Any) -> Awaitable[Any]:
        return self.agent.ask("progress", job=job, step=step, at_ms=at_ms, **fields)

    def location(self, lat: float = 33.3, lon: float = -111.9, acc_m: float = 5) -> None:
        self.agent.tell("location", lat=lat, lon=lon, acc_m=acc_m)

    def hint(self) -> None:
        self.agent.tell("hint")

    def step_clock(self, step_ms: int) -> None:
        self._step_ms += step_ms
        self.agent.tell("phone", step_ms=step_ms)

    async def next_offer(self) -> Any:
        return Offered(await self.agent.ask("offered"))

    async def shown(self, names: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = await self.agent.ask("shows", names=names)
        return values

    async def _open(self, agent: Agent) -> Link:
        return await NodeLink.start(agent)


class Offered:
    """An offer as the client gave it."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        self.offer: str = message["offer"]


def _camel(options: Any) -> Any:
    """Return options by their names in TypeScript."""
    if not isinstance(options, dict):
        return options
    return {
        re.sub(r"_([a-z])", lambda found: found[1].upper(), name): _camel(value)
        for name, value in options.items()
    }
