"""The app of a scenario: what `scenario.Stage` asks of a client, and the Python client as one."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Protocol

from mallard_client.backoff import Backoff
from mallard_client.driver.client import DriverClient
from mallard_client.driver.socket import Liveness
from mallard_client.driver.storage import MemoryStorage

# Short waits, so that a scenario can wait for them; in seconds.
BACKOFF = {
    "first_s": 0.02,
    "max_s": 0.1,
    "unreachable_max_s": 0.1,
    "refused_first_s": 0.04,
    "refused_max_s": 0.2,
}
LIVENESS = {"answer_s": 0.3, "idle_s": 0.3, "pong_s": 1.0}


class TokenProvider:
    """The token provider of an app: `mode` is ``fresh``, ``same`` or ``fails``."""

    def __init__(self) -> None:
        self.mode = "fresh"
        self.given = 0

    def __call__(self) -> str:
        self.given += 1
        if self.mode == "fails":
            raise OSError("no network")
        return "token" if self.mode == "same" else f"token {self.given}"


class ScenarioApp(Protocol):
    """A client of the driver socket, in any language.

    A call is started at once and its outcome awaited later; an error of the client has its class as
    its name: ``NoAnswer``.
    """

    async def start(self) -> None:
        """Start the app, with what an earlier run of it has saved."""

    async def stop(self) -> None:
        """Stop the app in good order."""

    async def kill(self) -> None:
        """End the app so that it can save nothing more."""

    def accept(self, offer: Any) -> Awaitable[Any]:
        """Take an offer that `next_offer` returned."""

    def status(self, wish: str) -> Awaitable[Any]:
        """Set the wanted status."""

    def progress(self, job: str, step: str, at_ms: int) -> Awaitable[Any]:
        """Report a step; `at_ms` is by this machine's clock."""

    def location(self) -> None:
        """Report a position."""

    def hint(self) -> None:
        """Say that the network is back."""

    def step_clock(self, step_ms: int) -> None:
        """Set the phone's clock forward or back."""

    async def next_offer(self) -> Any:
        """Wait for the next offer; it has the id `offer`."""

    async def shown(self, names: list[str]) -> dict[str, Any]:
        """Return what the client shows now."""


class PythonApp:
    """The Python client."""

    def __init__(self, url: str, tokens: TokenProvider, options: dict[str, Any]) -> None:
        self._url = url
        self._tokens = tokens
        self._options = options
        self._storage = MemoryStorage()
        self._step_ms = 0
        self._client: DriverClient | None = None
        self._offers: Any = None

    @property
    def client(self) -> DriverClient:
        assert self._client is not None
        return self._client

    async def start(self) -> None:
        self._client = DriverClient(
            self._url,
            self._tokens,
            storage=self._storage,
            now_ms=self._now_ms,
            backoff=Backoff(**BACKOFF),
            liveness=Liveness(**LIVENESS),
            **self._options,
        )
        self._offers = self._client.offers()
        self._client.start()

    async def stop(self) -> None:
        await self.client.stop()

    async def kill(self) -> None:
        saved = self._storage.document
        await self.client.stop()
        self._storage.document = saved

    def accept(self, offer: Any) -> Awaitable[Any]:
        return self.client.accept(offer)

    def status(self, wish: str) -> Awaitable[Any]:
        return self.client.status(wish)  # type: ignore[arg-type]  # a scenario's words

    def progress(self, job: str, step: str, at_ms: int) -> Awaitable[Any]:
        return self.client.progress(job, step, at_ms=at_ms + self._step_ms)  # type: ignore[arg-type]

    def location(self) -> None:
        self.client.location(33.3, -111.9, acc_m=5)

    def hint(self) -> None:
        self.client.network_is_back()

    def step_clock(self, step_ms: int) -> None:
        self._step_ms += step_ms

    async def next_offer(self) -> Any:
        return await anext(self._offers)

    async def shown(self, names: list[str]) -> dict[str, Any]:
        app = self.client
        stopped = app._connection.stopped
        values = {
            "connected": app.connected,
            "state": app.state,
            "barred": app.barred and app.barred.why,
            "jobs": {job: held.state for job, held in app.jobs.items()},
            "location_ms": app.location_ms,
            "unreported": app.unreported,
            "stopped": stopped and stopped.close_code,
        }
        await asyncio.sleep(0)
        return {name: values[name] for name in names}

    def _now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._step_ms
