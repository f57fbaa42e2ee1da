"""What tests may take for a standstill of their process, and what is a fault of the engine."""

import asyncio
import time

from tests.support import Standstill


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
