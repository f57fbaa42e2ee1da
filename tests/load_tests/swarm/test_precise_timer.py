import time

from load_tests.swarm.precise_timer import PreciseTimer
from tests.support import eventually


async def test_timer_fires_once_and_not_early() -> None:
    fired: list[float] = []
    timer = PreciseTimer(lambda: fired.append(time.monotonic()))
    due_s = time.monotonic() + 0.02
    timer.set(due_s)
    await eventually(lambda: fired)
    assert fired[0] >= due_s
    assert len(fired) == 1
    timer.close()


async def test_past_moment_fires_at_once() -> None:
    fired: list[int] = []
    timer = PreciseTimer(lambda: fired.append(1))
    timer.set(time.monotonic() - 5)
    await eventually(lambda: fired)
    timer.close()


async def test_new_moment_replaces_the_last() -> None:
    fired: list[int] = []
    timer = PreciseTimer(lambda: fired.append(1))
    timer.set(time.monotonic() + 3600)
    timer.set(time.monotonic() + 0.01)
    await eventually(lambda: fired)
    assert fired == [1]
    timer.close()
    timer.close()
