"""What tests may take for a standstill of a process, and what is a fault of the engine."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from load_tests.meters import process_cpu_s
from tests.support import Standstill, waited_ms

says_waits = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(),
    reason="this kernel does not say how long a process waits for a processor",
)


async def test_process_without_a_processor_stands_still(standstill: Standstill) -> None:
    await asyncio.sleep(0.03)
    time.sleep(0.3)
    await asyncio.sleep(0.03)
    assert standstill.ms >= 250


async def test_own_work_is_no_standstill(standstill: Standstill) -> None:
    began_s, computed_s = time.monotonic(), time.process_time()
    await asyncio.sleep(0.03)
    while time.process_time() < computed_s + 0.3:
        pass
    await asyncio.sleep(0.03)
    without_s = time.monotonic() - began_s - (time.process_time() - computed_s)
    assert standstill.ms <= without_s * 1000


@says_waits
async def test_process_that_was_started_stands_still(standstill: Standstill) -> None:
    """Three that share a processor wait for two thirds of the time, also for a child's child."""
    processor = min(os.sched_getaffinity(0))
    spin = "import time\nends = time.monotonic() + 0.6\nwhile time.monotonic() < ends: pass"
    pinned = f"import os\nos.sched_setaffinity(0, {{{processor}}})\n{spin}"
    shell = f'"{sys.executable}" -c "$SPIN" & "{sys.executable}" -c "$SPIN" & wait'
    rivals = [
        subprocess.Popen(["/bin/sh", "-c", shell], env={**os.environ, "SPIN": pinned}),
        subprocess.Popen([sys.executable, "-c", pinned]),
    ]
    try:
        most_ms = 0.0
        while any(rival.poll() is None for rival in rivals):
            most_ms = max(most_ms, standstill.ms)
            await asyncio.sleep(0.02)
    finally:
        for rival in rivals:
            rival.wait()
    assert most_ms >= 300


@says_waits
async def test_work_of_a_process_that_was_started_is_no_standstill() -> None:
    spin = "import time\nwhile time.process_time() < 0.3: pass"
    began_s = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", spin])
    computed_s = waited_s = 0.0
    while child.poll() is None:
        waited_s = waited_ms().get(child.pid, 0.0) / 1000
        computed_s = process_cpu_s(child.pid)
        assert waited_s + computed_s <= time.monotonic() - began_s
        await asyncio.sleep(0.02)
    assert computed_s > 0
