"""The dummy of the control run: uses as much CPU as the attackers did, at their priority.

`python -m load_tests.attacks.burner SECONDS SHARE`; the share is of one core and may be over 1.
"""

import multiprocessing
import sys
import time
from typing import Final

from load_tests.attacks.generator import NICENESS
from load_tests.priority import lower_priority

_SLICE_S: Final = 0.02


def burn(seconds: float, share: float) -> None:
    """Use CPU for a share of the time."""
    ends_s = time.monotonic() + seconds
    used_s, began_s = time.process_time(), time.monotonic()
    while (now_s := time.monotonic()) < ends_s:
        if time.process_time() - used_s < share * (now_s - began_s):
            sum(range(20_000))
        else:
            time.sleep(_SLICE_S)


def main() -> None:
    """Use as many cores as the share needs."""
    lower_priority(NICENESS)
    seconds, share = float(sys.argv[1]), float(sys.argv[2])
    cores = max(1, int(share + 0.999))
    processes = [
        multiprocessing.Process(target=burn, args=(seconds, share / cores)) for _ in range(cores)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
