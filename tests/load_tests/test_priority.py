"""A load generator yields the CPU to the engine, also where Linux groups processes by session."""

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
from pathlib import Path
from load_tests.priority import lower_priority
lower_priority(7)
print(Path("/proc/self/autogroup").read_text())
"""


def autogroup_after(*, is_of_its_own: bool) -> str:
    command = [sys.executable, "-c", _PROGRAM]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=True, start_new_session=is_of_its_own
    )
    return ended.stdout.strip()


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this system does not group by session"
)
def test_own_session_gets_the_niceness_of_its_process() -> None:
    assert autogroup_after(is_of_its_own=True).endswith(" nice 7")
    assert not autogroup_after(is_of_its_own=False).endswith(" nice 7")
