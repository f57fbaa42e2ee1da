"""Disconnects the drivers of a node before it stops: with a warning, in batches, spread out."""

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from mallard_engine.gateway.socket.endpoint import DriverSocket
from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.gateway.socket.services import SocketServices
from mallard_protocol.codes import Close

_log = structlog.get_logger(__name__)

# A drain may take 10 s in total; uvicorn and the dispatcher need part of it.
CLOSE_WITHIN_S: Final = 3.0
_CLOSES_PER_S: Final = 2_000
_BATCHES_PER_S: Final = 20
# Time for replies that are being written.
_GRACE_S: Final = 0.2
_END_WITHIN_S: Final = 1.0
# Drivers reconnect over at least a second, at most a thousand per second, and no faster than this
# node could serve them in the last storm.
_MIN_SPREAD_MS: Final = 1_000


def reconnect_times_ms(
    drivers: int, draw: Callable[[], float], each_s: float = 0.0
) -> Iterator[int]:
    """Yield a different reconnect delay for each driver, ascending.

    Args:
        drivers: the number of drivers.
        draw: returns random numbers from 0 to 1.
        each_s: how long a node takes to serve a driver who connects.
    """
    step_ms = max(1, _MIN_SPREAD_MS // max(1, drivers), math.ceil(each_s * 1000))
    for place in range(drivers):
        yield 1 + place * step_ms + int(draw() * step_ms)


async def drain_sockets(
    services: SocketServices, socket: DriverSocket, draw: Callable[[], float] = random.random
) -> None:
    """Refuse new sockets, warn every driver, close all sockets with 4001 in batches."""
    services.draining = True
    hub = services.hub
    sessions = list(hub.sessions())
    sessions.sort(key=lambda _: draw())
    _log.info("drain started", drivers=len(sessions), sockets=len(socket))
    times_ms = reconnect_times_ms(len(sessions), draw, services.pace.each_s)
    for session, after_ms in zip(sessions, times_ms, strict=True):
        session.drain(after_ms)
    if sessions:
        await asyncio.sleep(_GRACE_S)

    # Closed in the order of their reconnect delays.
    rate = max(_CLOSES_PER_S, len(sessions) / CLOSE_WITHIN_S)
    batch = max(1, int(rate / _BATCHES_PER_S))
    for start in range(0, len(sessions), batch):
        for session in sessions[start : start + batch]:
            session.end(Close.DRAINING)
        await asyncio.sleep(1 / _BATCHES_PER_S)
    socket.end_all(Close.DRAINING)
    _log.info("drain: sockets closed", left=await _left(hub))


async def _left(hub: Hub) -> int:
    """Wait for the sessions to end; return how many have not."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _END_WITHIN_S
    while len(hub) and clock() < deadline:  # noqa: ASYNC110 - at most one second, once per process
        await asyncio.sleep(0.01)
    return len(hub)
