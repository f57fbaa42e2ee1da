"""An OSRM table service over HTTP (`GET /table/v1/{profile}/{coordinates}`).

The protocol is that of osrm-backend's docs/http.md. A server limits the coordinates of a request
(`--max-table-size`, 100 by default), so a large table is requested in concurrent blocks.
"""

from collections.abc import Iterator
from typing import Annotated

import httpx2
import msgspec
import numpy as np
from numpy.typing import NDArray

from mallard_engine.core.matching.travel_matrix import MatrixRequest, Place
from mallard_engine.travel.table_service import TableFailed, together

# osrm-routed closes a connection that is idle for five seconds.
_KEEP_S = 4.0
_MOST_CONNECTIONS = 8

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e7)]
_Metres = Annotated[float, msgspec.Meta(ge=0)]


class _Waypoint(msgspec.Struct):
    """A coordinate snapped to the network; `distance` in metres."""

    distance: _Metres = 0.0


class _Answer(msgspec.Struct):
    code: str
    message: str = ""
    durations: list[list[_Seconds | None]] = []
    sources: list[_Waypoint] = []
    destinations: list[_Waypoint] = []


_decoder = msgspec.json.Decoder(_Answer)


class Osrm:
    """The table service of the OSRM server at `url`, such as `http://osrm:5000`.

    `most` is the number of coordinates in one request. A place farther than `reach_m` from every
    road is off the network, wherever the server snaps it.
    """

    def __init__(
        self, url: str, *, profile: str = "driving", most: int = 100, reach_m: float = 300.0
    ) -> None:
        self._path = f"{url.rstrip('/')}/table/v1/{profile}/"
        self._most, self._reach_m = most, reach_m
        # The caller sets the timeout. Proxies from the environment are not used.
        self._client = httpx2.AsyncClient(
            timeout=None,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=_MOST_CONNECTIONS,
                max_keepalive_connections=_MOST_CONNECTIONS,
                keepalive_expiry=_KEEP_S,
            ),
        )

    async def table(self, request: MatrixRequest) -> NDArray[np.float64]:
        """See `mallard_engine.travel.table_service.TableService`."""
        seconds = np.full((len(request.froms), len(request.tos)), np.nan)
        blocks = list(_blocks(len(request.froms), len(request.tos), self._most))
        tables = await together(
            self._block(request.froms[rows], request.tos[columns]) for rows, columns in blocks
        )
        for (rows, columns), table in zip(blocks, tables, strict=True):
            seconds[rows, columns] = table
        return seconds

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _block(self, froms: tuple[Place, ...], tos: tuple[Place, ...]) -> NDArray[np.float64]:
        count = len(froms)
        places = ";".join(f"{lon:.6f},{lat:.6f}" for lat, lon in (*froms, *tos))
        query = {
            "sources": ";".join(map(str, range(count))),
            "destinations": ";".join(map(str, range(count, count + len(tos)))),
            "annotations": "duration",
            "generate_hints": "false",
        }
        options = "&".join(f"{name}={value}" for name, value in query.items())
        response = await self._get(f"{self._path}{places}?{options}")
        try:
            answer = _decoder.decode(response.content)
        except msgspec.DecodeError as error:
            if response.status_code != 200:
                raise TableFailed("failed", f"HTTP status {response.status_code}") from error
            raise TableFailed("nonsense", str(error)) from error
        if response.status_code != 200 or answer.code != "Ok":
            raise TableFailed("failed", f"{answer.code}: {answer.message}")
        return self._read(answer, count, len(tos))

    async def _get(self, url: str) -> httpx2.Response:
        try:
            return await self._client.get(url)
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            # The server closed the connection, as it may after a number of requests: try once more.
            pass
        except httpx2.HTTPError as error:
            raise TableFailed("failed", repr(error)) from error
        try:
            return await self._client.get(url)
        except httpx2.HTTPError as error:
            raise TableFailed("failed", repr(error)) from error

    def _read(self, answer: _Answer, froms: int, tos: int) -> NDArray[np.float64]:
        if len(answer.durations) != froms or any(len(row) != tos for row in answer.durations):
            raise TableFailed("nonsense", f"no table of {froms} by {tos}")
        seconds = np.array(answer.durations, dtype=np.float64)
        for axis, waypoints in enumerate((answer.sources, answer.destinations)):
            if waypoints and len(waypoints) != seconds.shape[axis]:
                raise TableFailed("nonsense", "other waypoints than requested")
            far = [it for it, point in enumerate(waypoints) if point.distance > self._reach_m]
            seconds[(far, slice(None)) if axis == 0 else (slice(None), far)] = np.nan
        return seconds


def _blocks(froms: int, tos: int, most: int) -> Iterator[tuple[slice, slice]]:
    """Yield ranges of rows and columns that cover the table, of at most `most` coordinates each."""
    # The shorter side is kept whole if possible, so that fewer coordinates are sent twice.
    half = most // 2
    wide = min(tos, max(half, most - froms))
    high = most - wide
    for row in range(0, froms, high):
        for column in range(0, tos, wide):
            yield slice(row, min(row + high, froms)), slice(column, min(column + wide, tos))
