"""A reader of server-sent events, written from the standard alone."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from mallard_protocol.codes import Role
from tests.engine.gateway.conftest import RunningNode
from tests.support import GUARD_S


class Stream:
    """An open stream. `comments`: how many comments have come."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.comments = 0
        self._lines = response.aiter_lines()

    async def event(self, within_s: float = GUARD_S) -> dict[str, Any] | None:
        """Return the next event, whose `id` and `event` are checked; None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(within_s):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    event: dict[str, Any] = json.loads(fields["data"])
                    assert (event["id"], event["type"]) == (fields["id"], fields["event"])
                    return event
        return None

    async def events(self, count: int, within_s: float = GUARD_S) -> list[dict[str, Any]]:
        """Return so many events."""
        found = [await self.event(within_s) for _ in range(count)]
        return [event for event in found if event is not None]

    async def rest(self, within_s: float = GUARD_S) -> list[dict[str, Any]]:
        """Return the events until the stream ends."""
        found = []
        while (event := await self.event(within_s)) is not None:
            found.append(event)
        return found

    async def rest_until(self, kind: str) -> list[dict[str, Any]]:
        """Return the events up to the first of this type."""
        found = await self.events(1)
        while found[-1]["type"] != kind:
            found += await self.events(1)
        return found

    async def types(self, count: int) -> list[str]:
        """Return the types of so many events."""
        return [event["type"] for event in await self.events(count)]

    async def comments_only(self, count: int) -> None:
        """Read so many comments, and no event."""
        async with asyncio.timeout(GUARD_S):
            while self.comments < count:
                line = await anext(self._lines)
                assert not line or line.startswith(":"), line
                self.comments += line.startswith(":")

    async def nothing(self, within_s: float = 0.3) -> bool:
        """Whether no event comes for a while."""
        try:
            return await self.event(within_s) is None
        except TimeoutError:
            return True


@asynccontextmanager
async def stream(
    node: RunningNode,
    path: str,
    *,
    sub: str = "shop",
    role: Role = Role.ORDERS,
    last: str | None = None,
    token: str | None = None,
    **query: str,
) -> AsyncIterator[Stream]:
    """Open a stream."""
    headers = {"Authorization": f"Bearer {token or node.token(sub, role)}"}
    headers |= {} if last is None else {"Last-Event-ID": last}
    async with (
        httpx2.AsyncClient(base_url=node.url, trust_env=False, timeout=GUARD_S) as http,
        http.stream("GET", path, params=query or None, headers=headers) as response,
    ):
        assert response.status_code == 200, (await response.aread()).decode()
        yield Stream(response)
