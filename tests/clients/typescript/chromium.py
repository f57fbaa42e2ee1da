"""A headless Chromium in which tests open pages that run the agent of the TypeScript client."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.clients.apps import TokenProvider
from tests.clients.typescript.agents import PACKAGE, Agent, Line, Link, needs_node
from tests.clients.typescript.node_app import NodeApp
from tests.support import GUARD_S, eventually

BINARY = shutil.which("chromium")
_ESBUILD = PACKAGE / "node_modules" / ".bin" / "esbuild"
needs_chromium = [
    needs_node,
    pytest.mark.skipif(BINARY is None, reason="Chromium is missing: apt-get install chromium"),
]
_SERVED = {"/page": "text/html", "/agent.js": "text/javascript"}
_PAGE = b"<!doctype html><meta charset=utf-8><script type=module src=/agent.js></script>"


@contextlib.asynccontextmanager
async def _profile() -> AsyncIterator[str]:
    """Make a folder for a profile, and remove it.

    The browser's helpers outlive it for a moment and still write there.
    """
    folder = tempfile.mkdtemp(prefix="mallard-chromium-")

    def is_removed() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not Path(folder).exists()

    try:
        yield folder
    finally:
        await eventually(is_removed)


class Chromium:
    """One browser, its pages, and the server that they talk to."""

    def __init__(self, debugger: str) -> None:
        self._debugger = debugger
        self._script = _bundle()
        self._controls: dict[str, asyncio.Future[ServerConnection]] = {}
        self._pages = 0
        self._origin = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls) -> AsyncIterator["Chromium"]:
        """Start a browser with a profile of its own; it ends with the block."""
        assert BINARY is not None
        async with _profile() as folder:
            process = subprocess.Popen(
                [
                    BINARY,
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--remote-debugging-port=0",
                    f"--user-data-dir={folder}",
                    "about:blank",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                port_file = Path(folder) / "DevToolsActivePort"
                await eventually(lambda: port_file.exists() and port_file.read_text())
                port = port_file.read_text().split("\n", 1)[0]
                browser = cls(f"http://127.0.0.1:{port}")
                async with serve(
                    browser._control, "127.0.0.1", 0, process_request=browser._serve
                ) as server:
                    port = next(iter(server.sockets)).getsockname()[1]
                    browser._origin = f"127.0.0.1:{port}"
                    yield browser
            finally:
                process.terminate()
                process.wait(GUARD_S)

    @property
    def origin(self) -> str:
        """The origin of the pages."""
        return f"http://{self._origin}"

    async def open(self, agent: Agent) -> "PageLink":
        """Open a page that obeys an agent's lines."""
        self._pages += 1
        name = f"/{self._pages}"
        control = self._controls[name] = asyncio.get_running_loop().create_future()
        url = f"{self.origin}/page?{self._pages}"
        target = await asyncio.to_thread(self._ask, "PUT", f"/json/new?{url}")
        async with asyncio.timeout(GUARD_S):
            return PageLink(await control, agent, target)

    def _ask(self, method: str, path: str) -> Any:
        request = urllib.request.Request(self._debugger + path, method=method)
        with urllib.request.urlopen(request, timeout=GUARD_S) as answer:
            return json.load(answer)

    async def _control(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self._controls.pop(connection.request.path).set_result(connection)
        await connection.wait_closed()

    def _serve(self, _connection: ServerConnection, request: Request) -> Response | None:
        """Serve the page and its script; anything else is a control socket."""
        kind = _SERVED.get(request.path.partition("?")[0])
        if kind is None:
            return None
        body = _PAGE if kind == "text/html" else self._script
        headers = Headers(
            [("Content-Type", kind), ("Content-Length", str(len(body))), ("Connection", "close")]
        )
        return Response(200, "OK", headers, body)


class PageLink:
    """The lines of one page."""

    def __init__(self, control: ServerConnection, agent: Agent, target: Line) -> None:
        self._control = control
        self._target = target
        self._sending: set[asyncio.Task[None]] = set()
        self._last: asyncio.Task[None] | None = None
        self._reading = asyncio.create_task(self._read(agent))

    def write(self, line: Line) -> None:
        sending = asyncio.create_task(self._send(line, self._last))
        self._last = sending
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def end(self) -> None:
        """Crash the page, as the end of a process by the phone does."""
        async with connect(self._target["webSocketDebuggerUrl"]) as debugger:
            await debugger.send(json.dumps({"id": 1, "method": "Page.crash"}))
            await self._reading

    async def _send(self, line: Line, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await before
        with contextlib.suppress(ConnectionClosed):
            await self._control.send(json.dumps(line))

    async def _read(self, agent: Agent) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for data in self._control:
                agent.heard(json.loads(data))
        agent.ended()


class PageApp(NodeApp):
    """A driver app in a page, whose storage is the browser's."""

    def __init__(
        self, browser: Chromium, url: str, tokens: TokenProvider, options: dict[str, Any]
    ) -> None:
        super().__init__(url, tokens, options)
        self._browser = browser

    async def _open(self, agent: Agent) -> Link:
        return await self._browser.open(agent)


def _bundle() -> bytes:
    """The agent for browsers as one module."""
    made = subprocess.run(
        [_ESBUILD, "tests/agent.browser.mjs", "--bundle", "--format=esm", "--log-level=error"],
        cwd=PACKAGE,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return made.stdout
