"""A server that speaks OSRM's table protocol on a real socket.

Its durations are a second for each 10 m of the great circle. It is strict with requests, as
osrm-backend is, and can misbehave on demand.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mallard_engine.core.places.geo import haversine_m

_PATH = re.compile(
    r"GET /table/v1/(?P<profile>[a-z]+)/(?P<places>[-0-9.,;]+)\?(?P<query>\S+) HTTP/1.1"
)
Body = dict[str, Any]


def seconds(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Return its answer for a pair of (lat, lon)."""
    return round(haversine_m(*here, *there) / 10, 1)


@dataclass
class OsrmServer:
    """A server. `change` alters a valid answer; `raw` is sent instead of any answer."""

    port: int = 0
    most: int = 100
    requests: list[str] = field(default_factory=list)
    hangs: bool = False
    hangs_up: bool = False
    change: Callable[[Body], Any] | None = None
    raw: bytes | None = None
    closes_after: int = 512

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(self.closes_after):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head.partition("\r\n")[0])
                if self.hangs:
                    await reader.read()  # until the other side gives up
                    return
                if self.hangs_up:
                    return
                status, body = self._answer(head.partition("\r\n")[0])
                writer.write(self.raw or _response(status, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    def _answer(self, request: str) -> tuple[int, Any]:
        found = _PATH.fullmatch(request)
        if found is None:
            return 400, {"code": "InvalidUrl", "message": "URL string malformed"}
        options = dict(item.split("=") for item in found["query"].split("&"))
        if options.keys() - {"sources", "destinations", "annotations", "generate_hints"}:
            return 400, {"code": "InvalidOptions", "message": "Unknown option"}
        places = [tuple(map(float, reversed(it.split(",")))) for it in found["places"].split(";")]
        if len(places) > self.most:
            return 400, {"code": "TooBig", "message": "Too many table coordinates"}
        froms, tos = (
            [places[int(number)] for number in options[name].split(";")]
            for name in ("sources", "destinations")
        )
        body: Body = {
            "code": "Ok",
            "durations": [[seconds(here, there) for there in tos] for here in froms],  # type: ignore[arg-type]
            "sources": [_waypoint(*place) for place in froms],
            "destinations": [_waypoint(*place) for place in tos],
        }
        return 200, self.change(body) if self.change else body


def _waypoint(lat: float, lon: float) -> Body:
    return {"distance": 4.25, "name": "", "location": [lon, lat]}


def _response(status: int, body: Any) -> bytes:
    text = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json; charset=UTF-8\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


@asynccontextmanager
async def osrm_server() -> AsyncIterator[OsrmServer]:
    """Start a listening server."""
    osrm = OsrmServer()
    server = await asyncio.start_server(osrm.serve, "127.0.0.1", 0)
    osrm.port = server.sockets[0].getsockname()[1]
    try:
        yield osrm
    finally:
        server.close()
