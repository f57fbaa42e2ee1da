"""A driver app that reports over HTTP, as one does whose socket is suspended."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Any, Final

import httpx2
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import WebSocketException

from load_tests.faults.outage import App, Seen
from mallard_client.backoff import may_reconnect

_HUNG_UP: Final = 1000
_AGAIN_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_LATER: Final = (httpx2.codes.TOO_MANY_REQUESTS, httpx2.codes.SERVICE_UNAVAILABLE)
_STEPS: Final = {"assigned": ("picked_up", "delivered"), "picked_up": ("delivered",)}


class HttpApp(App):
    """Hears offers on a socket, and accepts and carries out each of them over HTTP without one.

    Its requests go to the nodes in turn, so also to one that does not know the driver.

    Args:
        http: a client whose connections all drivers share.
        token, seen, step_s: as of an `App`.
    """

    def __init__(
        self, http: httpx2.AsyncClient, token: str, seen: Seen, *, step_s: float = 0.0
    ) -> None:
        super().__init__(token, seen, step_s=step_s)
        self._http = http
        self._urls = itertools.cycle("")
        self._jobs: list[dict[str, Any]] = []

    def use(self, urls: Sequence[str]) -> None:
        """Send requests to these nodes in turn."""
        self._urls = itertools.cycle(urls)

    async def work(self, urls: Sequence[str]) -> None:
        """Work until cancelled; a close after which an app may not come back is recorded."""
        self.use(urls)
        while True:
            try:
                code = await self.stay(next(self._urls))
            except (OSError, WebSocketException):  # a node that does not answer while Redis is away
                code = 1006
            if code != _HUNG_UP and not may_reconnect(code):
                self._seen.closed[code] += 1
                return
            jobs, self._jobs = self._jobs, []
            await asyncio.gather(*map(self.carry_out, jobs))
            if not jobs:
                await asyncio.sleep(_AGAIN_S)

    async def _welcomed(self, socket: ClientConnection, frame: dict[str, Any]) -> None:
        self._jobs = [it for it in frame["jobs"] if it["job"] not in self._seen.delivered]
        await super()._welcomed(socket, frame)
        for job in self._seen.delivered & self._holds.keys():
            del self._holds[job]
        if self._jobs and not frame.get("say_hello"):
            await socket.close()

    async def _ask(self, socket: ClientConnection, kind: str, **fields: Any) -> None:
        if kind != "accept":
            await super()._ask(socket, kind, **fields)
            return
        accepted = await self._post(f"offers/{fields['offer']}/accept", {})
        if accepted is not None:
            self._seen.accepted.update(job["job"] for job in accepted["jobs"])
            jobs = {job["job"]: job for job in (*self._jobs, *accepted["jobs"])}
            self._jobs = list(jobs.values())
            await socket.close()

    async def carry_out(self, held: dict[str, Any]) -> None:
        """Report the steps that are left of a job, until its end or a final refusal."""
        job, attempt = held["job"], held["attempt"]
        for step in _STEPS.get(held["state"], ()):
            await asyncio.sleep(self._step_s * random.uniform(0.8, 1.2))
            body = {"attempt": attempt, "step": step}
            reply = await self._post(f"jobs/{job}/progress", body, job=job)
            if reply is None:
                return
            attempt = reply.get("attempt") or attempt
        self._seen.deliver(job, self._token)
        self._holds.pop(job, None)

    async def _post(
        self, path: str, body: dict[str, Any], *, job: str | None = None
    ) -> dict[str, Any] | None:
        """Post until a node has taken it, and return its reply; None if it is refused for good."""
        headers = {"Authorization": f"Bearer {self._token}"}
        while True:
            try:
                url = f"{next(self._urls)}/v1/driver/{path}"
                answer = await self._http.post(url, json=body, headers=headers)
            except httpx2.TransportError:
                await asyncio.sleep(_AGAIN_S)
                continue
            if answer.is_success:
                reply: dict[str, Any] = answer.json()
                return reply
            if answer.status_code not in _LATER:
                if job is not None:
                    self._seen.refused.append((job, f"{body['step']}: {answer.json()['code']}"))
                return None
            wait_s = min(float(answer.headers["Retry-After"]), _LONGEST_WAIT_S)
            self._seen.put_off += 1
            await asyncio.sleep(wait_s + random.uniform(0, _AGAIN_S))
