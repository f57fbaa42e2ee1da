"""Programs of the TypeScript client that a test drives, in Node or in a page of Chromium.

They obey lines of JSON; `clients/typescript/tests/agent.mjs` says which. They need Node and the
built package (`make typescript`); without them the tests are skipped. In CI `.ci/typescript` builds
the package and runs them.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

PACKAGE = Path(__file__).parents[3] / "clients" / "typescript"
NODE = shutil.which("node")
_BUILT = (PACKAGE / "dist" / "index.js").exists() and (PACKAGE / "node_modules").exists()
needs_node = pytest.mark.skipif(
    NODE is None or not _BUILT, reason="Node, or the built clients/typescript, is missing"
)
_LINE_BYTES = 1 << 20

Line = dict[str, Any]


class Link(Protocol):
    """How lines get to an agent; lines from it go to `Agent.heard`."""

    def write(self, line: Line) -> None:
        """Send a line, if the agent still listens."""

    async def end(self) -> None:
        """End the agent at once, without a goodbye."""


class Agent:
    """One agent: asks it, and matches its answers.

    Args:
        token: gives the tokens that the agent asks for; raises `OSError` if it has none.
    """

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        self._ids = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._background: set[Awaitable[Any]] = set()
        self._link: Link | None = None

    def linked(self, link: Link, setup: Line) -> None:
        """Begin with the setup."""
        self._link = link
        link.write(setup)

    def ask(self, verb: str, **fields: Any) -> asyncio.Future[Any]:
        """Ask for something; to cancel the future gives it up."""
        number = next(self._ids)
        call = self._calls[number] = asyncio.get_running_loop().create_future()
        call.add_done_callback(lambda done: self._settled(number, done))
        self._write({"id": number, "do": verb, **fields})
        return call

    def tell(self, verb: str, **fields: Any) -> None:
        """Ask for something whose outcome does not matter; it precedes what is asked for later."""
        asked = self.ask(verb, **fields)
        self._background.add(asked)
        asked.add_done_callback(self._background.discard)

    def heard(self, line: Line) -> None:
        """Take a line of the agent."""
        if "ask" in line:
            try:
                self._write({"token": self._token()})
            except OSError:
                self._write({"token": None})
            return
        call = self._calls.get(line["id"])
        if call is None or call.done():
            return
        if "fails" in line:
            call.set_exception(_error(line["fails"]))
        else:
            call.set_result(line["gives"])

    def ended(self) -> None:
        """Fail every call: the agent has ended."""
        for call in tuple(self._calls.values()):
            if not call.done():
                call.set_exception(ConnectionError("the agent has ended"))

    async def end(self) -> None:
        """End the agent at once."""
        if self._link is not None:
            link, self._link = self._link, None
            await link.end()
        self.ended()

    def _write(self, line: Line) -> None:
        if self._link is not None:
            self._link.write(line)

    def _settled(self, number: int, call: asyncio.Future[Any]) -> None:
        self._calls.pop(number, None)
        if call.cancelled():
            self._write({"id": next(self._ids), "do": "cancel", "of": number})
        else:
            call.exception()  # one that nobody awaits is no error


class NodeLink:
    """A Node process."""

    def __init__(self, process: asyncio.subprocess.Process, agent: Agent) -> None:
        self._process = process
        self._reading = asyncio.create_task(self._read(agent))

    @classmethod
    async def start(cls, agent: Agent) -> "NodeLink":
        """Start a process."""
        assert NODE is not None
        process = await asyncio.create_subprocess_exec(
            NODE,
            str(PACKAGE / "tests" / "agent.node.mjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        return cls(process, agent)

    def write(self, line: Line) -> None:
        assert self._process.stdin is not None
        if self._process.returncode is None:
            self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        await self._reading
        self._process._transport.close()  # type: ignore[attr-defined]  # else its pipe stays open

    async def _read(self, agent: Agent) -> None:
        assert self._process.stdout is not None
        async for row in self._process.stdout:
            agent.heard(json.loads(row))
        agent.ended()


def _error(fails: Line) -> Exception:
    """Return an error with a class of the name, and the fields, that the client's has."""
    error: Exception = type(fails["name"], (Exception,), {})(fails["message"])
    vars(error).update(fails)
    return error
