"""`mallard drivers` against a real node."""

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import POLICY, Node

MALLARD = Path(sys.executable).with_name("mallard")


def _drivers(node: Node, *flags: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    return subprocess.run(
        [MALLARD, "drivers", "--url", node.socket_url, *flags],
        env=inherited | POLICY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_drivers_command_runs_for_the_given_time(node: Node) -> None:
    done = _drivers(node, "--market", "las-vegas", "--count", "5", "--seconds", "2.5")
    assert done.returncode == 0, done.stderr
    assert "5 connected" in done.stdout


def test_unknown_market_is_a_usage_error(node: Node) -> None:
    done = _drivers(node, "--market", "atlantis")
    assert done.returncode == 2
    assert "phoenix" in done.stderr
