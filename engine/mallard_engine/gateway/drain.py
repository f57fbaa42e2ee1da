"""How a node lets its drivers go: warned, a few at a time, nobody at the same moment."""

import asyncio
import random
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from mallard_engine.gateway.socket.endpoint import DriverSocket
from mallard_engine.gateway.socket.hub import Hub
from mallard_engine.gateway.socket.services import SocketServices
from mallard_protocol.codes import Close

_log = structlog.get_logger(__name__)

# All in all a drain may take 10 s: uvicorn and the dispatcher need a part of it.
CLOSE_WITHIN_S: Final = 3.0
_CLOSES_PER_S: Final = 2_000
_BATCHES_PER_S: Final = 20
# For answers that are on their way.
_GRACE_S: Final = 0.2
_GOODBYE_S: Final = 1.0
# Drivers come back over a second at the least, and at most a thousand each second.
_MIN_SPREAD_MS: Final = 1_000


def reconnect_times_ms(drivers: int, draw: Callable[[], float]) -> Iterator[int]:
    """A different time for each driver to come back after, ascending."""
    step_ms = max(1, _MIN_SPREAD_MS // max(1, drivers))
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
    _log.info("drain begins", drivers=len(sessions), sockets=len(socket))
    for session, after_ms in zip(sessions, reconnect_times_ms(len(sessions), draw), strict=True):
        session.drain(after_ms)
    if sessions:
        await asyncio.sleep(_GRACE_S)

    # Those who come back first are let go first.
    rate = max(_CLOSES_PER_S, len(sessions) / CLOSE_WITHIN_S)
    batch = max(1, int(rate / _BATCHES_PER_S))
    for start in range(0, len(sessions), batch):
        for session in sessions[start : start + batch]:
            session.end(Close.DRAINING)
        await asyncio.sleep(1 / _BATCHES_PER_S)
    socket.end_all(Close.DRAINING)
    _log.info("drain: sockets closed", left=await _left(hub))


async def _left(hub: Hub) -> int:
    """Wait a moment for the sessions' ends; return how many have not come to it."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + _GOODBYE_S
    while len(hub) and clock() < deadline:  # noqa: ASYNC110 - for a second, once in a life
        await asyncio.sleep(0.01)
    return len(hub)
