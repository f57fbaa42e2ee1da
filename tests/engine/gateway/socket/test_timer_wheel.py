"""Deadlines of many sockets share the timers of the event loop."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from mallard_engine.gateway.socket.timer_wheel import TimerWheel
from tests.support import eventually

SLOT_S = 0.02


class Timed:
    """Notes when it is called."""

    def __init__(self) -> None:
        self.called_s: list[float] = []

    def on_timer(self) -> None:
        self.called_s.append(asyncio.get_running_loop().time())


class Failing(Timed):
    def on_timer(self) -> None:
        raise RuntimeError("broken")


async def test_deadlines_of_a_slot_share_one_wake_up() -> None:
    wheel, sockets = TimerWheel(), [Timed() for _ in range(500)]
    now_s = asyncio.get_running_loop().time()
    for n, timed in enumerate(sockets):
        wheel.schedule(timed, now_s + 0.1 + n * 0.0001, SLOT_S)
    await eventually(lambda: all(timed.called_s for timed in sockets))
    assert wheel.wakes <= 4
    assert len(wheel) == 0


async def test_deadline_is_never_early_and_comes_once() -> None:
    wheel, timed = TimerWheel(), Timed()
    at_s = asyncio.get_running_loop().time() + 0.05
    wheel.schedule(timed, at_s, SLOT_S)
    await eventually(lambda: timed.called_s)
    await asyncio.sleep(3 * SLOT_S)
    assert len(timed.called_s) == 1
    assert timed.called_s[0] >= at_s


async def test_sooner_deadline_is_not_held_up_by_a_later_one() -> None:
    wheel, later, sooner = TimerWheel(), Timed(), Timed()
    now_s = asyncio.get_running_loop().time()
    wheel.schedule(later, now_s + 60, SLOT_S)
    wheel.schedule(sooner, now_s + 0.05, SLOT_S)
    await eventually(lambda: sooner.called_s)
    assert not later.called_s
    assert len(wheel) == 1


async def test_cancelled_deadline_does_not_come() -> None:
    wheel, gone, other = TimerWheel(), Timed(), Timed()
    at_s = asyncio.get_running_loop().time() + 0.05
    slot = wheel.schedule(gone, at_s, SLOT_S)
    wheel.schedule(other, at_s, SLOT_S)
    wheel.cancel(gone, slot)
    wheel.cancel(gone, slot)
    await eventually(lambda: other.called_s)
    assert not gone.called_s


async def test_wheel_without_deadlines_keeps_no_timer() -> None:
    wheel, timed = TimerWheel(), Timed()
    slot = wheel.schedule(timed, asyncio.get_running_loop().time() + 60, SLOT_S)
    wheel.cancel(timed, slot)
    assert wheel._timer is None
    assert not wheel._ends


async def test_failing_socket_does_not_stop_the_others() -> None:
    wheel, timed = TimerWheel(), Timed()
    at_s = asyncio.get_running_loop().time() + 0.02
    wheel.schedule(Failing(), at_s, SLOT_S)
    wheel.schedule(timed, at_s, SLOT_S)
    await eventually(lambda: timed.called_s)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_deadline_in_the_past_does_not_hinder_the_next(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """A timer of uvloop, the nodes' loop, that is due already does not know its time."""

    async def schedule() -> TimerWheel:
        wheel, past, soon = TimerWheel(), Timed(), Timed()
        now_s = asyncio.get_running_loop().time()
        wheel.schedule(past, now_s - 10, SLOT_S)
        wheel.schedule(soon, now_s + 0.05, SLOT_S)
        await eventually(lambda: past.called_s and soon.called_s)
        return wheel

    with asyncio.Runner(loop_factory=new_loop) as runner:
        # It rounds to milliseconds, too: a timer that comes early is not set again and again.
        assert runner.run(schedule()).wakes <= 4
