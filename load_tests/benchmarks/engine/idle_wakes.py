"""Counts the timers of the event loop that idle sockets need: a figure without noise."""

import asyncio
import random
from typing import Final

from mallard_engine.gateway.socket.timer_wheel import TimerWheel
from mallard_engine.gateway.socket.timers import SocketTimeouts, SocketTimers

SOCKETS: Final = 500
# A ping interval in little: the wheel has as many slots in it as in the real one.
_PING_MS: Final = 1_000


class _Idle:
    """The timers of one socket whose app answers every ping."""

    def __init__(self, wheel: TimerWheel, timeouts: SocketTimeouts, spread: float) -> None:
        self._wheel = wheel
        self._timeouts = timeouts
        now_s = asyncio.get_running_loop().time()
        self._timers = SocketTimers(timeouts, now_s)
        self._timers.hello_received(now_s, spread)
        self._schedule()

    def _schedule(self) -> None:
        self._wheel.schedule(self, self._timers.next_s(), self._timeouts.slot_s)

    def on_timer(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._timers.last_frame_s = now_s
        for _ in self._timers.due(now_s):
            pass
        self._schedule()


async def idle_wakes() -> float:
    """Return how often 500 idle sockets wake the event loop in a ping interval."""
    wheel, draw = TimerWheel(), random.Random(1).random
    timeouts = SocketTimeouts(ping_ms=_PING_MS)
    for _ in range(SOCKETS):
        _Idle(wheel, timeouts, draw())
    interval_s = _PING_MS / 1000
    await asyncio.sleep(interval_s)  # the first pings are spread over half an interval
    before = wheel.wakes
    await asyncio.sleep(interval_s)
    return float(wheel.wakes - before)
