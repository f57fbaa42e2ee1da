"""Engine nodes as processes of their own: `mallard serve`, as anybody would run it."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import httpx2

from mallard_engine.storage.embedded.server import end_with_parent

_LISTENS: Final = re.compile(rb"listens on (http://\S+)")
# A line of its log is a JSON object; a line that is none is a traceback's.
_ERROR: Final = '"level": "error"'
_UP_WITHIN_S: Final = 30.0
_GONE_WITHIN_S: Final = 15.0
_SCRAPE_WITHIN_S: Final = 2.0


class NodeFailed(Exception):
    """A node did not come up; the message holds its last words."""


class DemoNode:
    """One node. `url` is there after `start`; `metrics` keeps the last text that it gave."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.url = ""
        self.metrics = ""
        self.killed = False
        self._log = folder / f"{name}.log"
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._http = httpx2.AsyncClient(timeout=_SCRAPE_WITHIN_S)

    @property
    def socket_url(self) -> str:
        """Where driver apps connect."""
        return self.url.replace("http", "ws", 1)

    async def start(self) -> Self:
        """Start it and wait until it listens. Raises `NodeFailed`."""
        foreign = {
            name: value
            for name, value in os.environ.items()
            if "MALLARD_" not in name or name == "MALLARD_PLACES"
        }
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "mallard_engine", "serve", "--port", "0"),
                *("--data", str(self._log.parent)),
                env={**foreign, **self._environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                # A Ctrl-C at the terminal is for the demo, which stops its nodes itself.
                start_new_session=True,
                preexec_fn=end_with_parent(),
            )
        assert self._process.stdout is not None  # noqa: S101 - we asked for a pipe
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_UP_WITHIN_S):
                async for line in self._process.stdout:
                    if listens := _LISTENS.search(line):
                        self.url = listens[1].decode()
                        return self
        raise NodeFailed(f"{self.name} did not come up:\n{self._log.read_text()[-2000:]}")

    async def scrape(self) -> None:
        """Read its metrics; a dead node's last ones are kept."""
        if self.killed:
            return
        with contextlib.suppress(httpx2.TransportError):
            self.metrics = (await self._http.get(f"{self.url}/metrics")).text

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self.killed = True

    async def stop(self) -> None:
        """Let it drain and end."""
        await self._http.aclose()
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_GONE_WITHIN_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def errors(self) -> list[str]:
        """The errors that it has logged."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        return [line for line in lines if _ERROR in line or not line.startswith("{")]
