"""The CPU priority of a load generator, which must leave the engine its cores."""

import contextlib
import os
from pathlib import Path
from typing import Final

_AUTOGROUP: Final = Path("/proc/self/autogroup")


def lower_priority(niceness: int) -> None:
    """Raise the niceness of this process, and of its session if no other process is in it.

    Where Linux groups processes by session (`sched_autogroup_enabled`), the niceness of a process
    counts only within its session; between sessions, that of the session counts (`man 7 sched`).
    """
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        # Without the grouping there is no such file.
        with contextlib.suppress(OSError):
            _AUTOGROUP.write_text(str(niceness))
