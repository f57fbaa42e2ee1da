"""Measures the cost of parsing each hostile frame.

    python -m load_tests.benchmarks.engine.parse_cost

Prints a line per frame, the most expensive first: the best repetition, in microseconds of CPU.
"""

import contextlib
import time
from typing import Final

from load_tests.attacks.payloads import HostileFrame, hostile_frames
from mallard_engine.contract.reading.frames import JSON, MSGPACK
from mallard_protocol.codec import FrameError

_REPETITIONS: Final = 20


def cost_us(hostile: HostileFrame) -> float:
    """Return the CPU time of decoding the frame once."""
    spoken = MSGPACK if isinstance(hostile.frame, bytes) else JSON
    best_s = float("inf")
    for _ in range(_REPETITIONS):
        began_s = time.process_time()
        with contextlib.suppress(FrameError):
            spoken.read(hostile.frame)
        best_s = min(best_s, time.process_time() - began_s)
    return best_s * 1e6


def main() -> None:
    """Measure and print."""
    costs = sorted(((cost_us(each), each.name) for each in hostile_frames()), reverse=True)
    for cost, name in costs:
        print(f"{cost:8.0f} us  {name}")


if __name__ == "__main__":
    main()
