"""The CPU priority of a load generator, which must leave the engine its cores."""

import contextlib
import os
from pathlib import Path
from typing import Final

_AUTOGROUP: Final = Path("/proc/self/autogroup")


def be_nice(niceness: int) -> None:
    """Lower the priority of this process to a niceness.

    Where Linux groups processes by session (`sched_autogroup_enabled`), the niceness of a process
    counts only within its session, and the session has one of its own: `man 7 sched`. It is set
    where the session is that of this process alone.
    """
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        # There is no such file without the grouping.
        with contextlib.suppress(OSError):
            _AUTOGROUP.write_text(str(niceness))
