import os
import subprocess
import time
from pathlib import Path

import pytest

from load_tests.meters import Meters, Reading, process_bytes, process_cpu_s, redis_info, usage
from mallard_engine.workload.nodes import running_redis


def reading(at_s: float, engine_s: float | None, lag: dict[float, float]) -> Reading:
    return Reading(at_s, engine_s, 1 << 20, None, None, {}, lag)


def test_cpu_time_of_a_process_is_what_it_has_used() -> None:
    before_s = process_cpu_s(os.getpid())
    spent = time.process_time() + 0.05
    while time.process_time() < spent:
        pass
    assert process_cpu_s(os.getpid()) - before_s == pytest.approx(0.05, abs=0.04)
    assert process_bytes(os.getpid()) > 1 << 20


def test_cpu_time_of_a_process_counts_less_than_a_tick() -> None:
    """A run so short that the kernel's ticks of 10 ms miss it still has a cost to divide by."""
    child = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        for _ in range(3):
            before_s = process_cpu_s(child.pid)
            child.stdin.write(b"a line\n")
            child.stdin.flush()
            assert child.stdout.readline() == b"a line\n"
            assert process_cpu_s(child.pid) > before_s
    finally:
        child.communicate()
    with pytest.raises(OSError, match="Invalid argument"):
        process_cpu_s(child.pid)


def test_use_is_reported_per_second() -> None:
    used = usage(reading(10, 1.0, {}), reading(20, 6.0, {}))
    assert used.engine_cpu == pytest.approx(0.5)
    assert used.engine_mib == 1
    assert used.redis_cpu is None
    assert "redis_cpu" not in used.to_json()


def test_loops_lag_is_that_of_the_time_between() -> None:
    before = {0.001: 50.0, 0.01: 60.0, float("inf"): 60.0}
    after = {0.001: 50.0, 0.01: 159.0, float("inf"): 160.0}
    used = usage(reading(0, None, before), reading(1, None, after))
    assert used.lag_p50_ms == 10
    assert used.lag_p99_ms == 10
    assert usage(reading(0, None, {}), reading(1, None, {})).lag_p99_ms is None


def test_use_of_redis_is_read(tmp_path: Path) -> None:
    with running_redis(tmp_path) as path:
        info = redis_info(path)
        assert int(info["used_memory"]) > 0
        meters = Meters(redis=path)
        before, after = meters.opening(), meters.closing()
        assert after.redis_cpu_s is not None
        assert before.redis_cpu_s is not None
        assert after.redis_cpu_s >= before.redis_cpu_s
        assert after.redis_calls["info"][0] > before.redis_calls.get("info", (0, 0))[0]
        assert after.engine_cpu_s is None
