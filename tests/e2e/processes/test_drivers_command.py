"""`mallard drivers` against a real node."""

import os
import subprocess

from tests import commands
from tests.e2e.conftest import POLICY, Node


def _drivers(node: Node, *flags: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    return commands.run("drivers", "--url", node.socket_url, *flags, env=inherited | POLICY)


def test_drivers_command_runs_for_the_given_time(node: Node) -> None:
    done = _drivers(node, "--market", "las-vegas", "--count", "5", "--seconds", "2.5")
    assert done.returncode == 0, done.stderr
    assert "5 connected" in done.stdout


def test_unknown_market_is_a_usage_error(node: Node) -> None:
    done = _drivers(node, "--market", "atlantis")
    assert done.returncode == 2
    assert "phoenix" in done.stderr
