"""The TypeScript client as the app of a scenario: a Node process that obeys lines of JSON.

It needs Node and the built package (`make typescript`); without them its tests are skipped. In CI
`.ci/typescript` builds the package and runs them.
"""

import asyncio
import contextlib
import itertools
import json
import re
import shutil
import signal
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.apps import BACKOFF, LIVENESS, TokenProvider

PACKAGE = Path(__file__).parents[3] / "clients" / "typescript"
NODE = shutil.which("node")
BUILT = (PACKAGE / "dist" / "index.js").exists() and (PACKAGE / "node_modules").exists()
needs_node = pytest.mark.skipif(
    NODE is None or not BUILT, reason="Node, or the built clients/typescript, is missing"
)
_LINE_BYTES = 1 << 20


class NodeApp:
    """One `tests/agent.mjs` at a time; a `tests.clients.apps.ScenarioApp`.

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
            "options": {
                "backoff": _camel(BACKOFF),
                "liveness": _camel(LIVENESS),
                **_camel(options),
            },
        }
        self._step_ms = 0
        self._ids = itertools.count(1)
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._background: set[asyncio.Future[Any]] = set()

    async def start(self) -> None:
        assert NODE is not None
        self._process = await asyncio.create_subprocess_exec(
            NODE,
            str(PACKAGE / "tests" / "agent.mjs"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
        self._write(self._setup)
        self._reading = asyncio.create_task(self._read(self._process))
        if self._step_ms:
            self._tell("phone", step_ms=self._step_ms)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(AssertionError):
                await asyncio.wait_for(self._ask("stop"), 10)
        await self._end()
        self._folder.cleanup()

    async def kill(self) -> None:
        # What was asked for before has happened; there is no goodbye.
        await self._ask("shows", names=[])
        await self._end()

    async def _end(self) -> None:
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        await process.wait()
        await reading
        process._transport.close()  # type: ignore[attr-defined]  # else its pipe stays open

    def accept(self, offer: Any) -> Awaitable[Any]:
        return self._ask("accept", offer=offer.offer)

    def decline(self, offer: Any) -> Awaitable[Any]:
        return self._ask("decline", offer=offer.offer)

    def status(self, wish: str) -> Awaitable[Any]:
        return self._ask("status", wish=wish)

    def progress(self, job: str, step: str, at_ms: int, **fields: Any) -> Awaitable[Any]:
        return self._ask("progress", job=job, step=step, at_ms=at_ms, **fields)

    def problem(self, kind: str, **fields: Any) -> Awaitable[Any]:
        return self._ask("problem", kind=kind, **fields)

    def location(self, lat: float = 33.3, lon: float = -111.9, acc_m: float = 5) -> None:
        self._tell("location", lat=lat, lon=lon, acc_m=acc_m)

    def hint(self) -> None:
        self._tell("hint")

    def suspend(self) -> None:
        """Suspend the socket: the client goes over HTTP."""
        self._tell("suspend")

    def resume(self) -> None:
        """Go over a socket again."""
        self._tell("resume")

    def step_clock(self, step_ms: int) -> None:
        self._step_ms += step_ms
        self._tell("phone", step_ms=step_ms)

    async def next_offer(self) -> Any:
        return _Offer(await self._ask("offered"))

    async def shown(self, names: list[str]) -> dict[str, Any]:
        values: dict[str, Any] = await self._ask("shows", names=names)
        return values

    def _tell(self, verb: str, **fields: Any) -> None:
        """Ask for something that cannot fail, and go on; it precedes what is asked for later."""
        asked = asyncio.ensure_future(self._ask(verb, **fields))
        self._background.add(asked)
        asked.add_done_callback(self._background.discard)

    def _ask(self, verb: str, **fields: Any) -> Awaitable[Any]:
        number = next(self._ids)
        call = self._calls[number] = asyncio.get_running_loop().create_future()
        call.add_done_callback(lambda done: self._settled(number, done))
        self._write({"id": number, "do": verb, **fields})
        return call

    def _settled(self, number: int, call: asyncio.Future[Any]) -> None:
        self._calls.pop(number, None)
        if call.cancelled():
            self._write({"id": next(self._ids), "do": "cancel", "of": number})
        else:
            call.exception()  # one that nobody awaits is no error

    def _write(self, line: dict[str, Any]) -> None:
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for row in process.stdout:
            line: dict[str, Any] = json.loads(row)
            if "ask" in line:
                self._give_token()
            elif call := self._calls.get(line["id"]):
                if call.done():
                    continue
                if "fails" in line:
                    call.set_exception(_error(**line["fails"]))
                else:
                    call.set_result(line["gives"])
        for call in tuple(self._calls.values()):
            if not call.done():
                call.set_exception(AssertionError("the Node process has ended"))

    def _give_token(self) -> None:
        try:
            self._write({"token": self._tokens()})
        except OSError:
            self._write({"token": None})


class _Offer:
    """An offer as the client gave it."""

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        self.offer: str = message["offer"]


def _error(name: str, message: str) -> Exception:
    """Return an error with a class of that name, as the client's has it."""
    error: Exception = type(name, (Exception,), {})(message)
    return error


def _camel(options: dict[str, Any]) -> dict[str, Any]:
    return {
        re.sub(r"_([a-z])", lambda found: found[1].upper(), name): value
        for name, value in options.items()
    }
