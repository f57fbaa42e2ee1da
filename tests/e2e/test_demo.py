"""A small `mallard demo`: whole processes, a killed node, and an audit that must hold."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_demo_with_killed_node_passes_its_audit(tmp_path: Path) -> None:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("mallard"), "demo", "--kill-node"),
            *("--seconds", "4", "--rate", "4", "--drivers", "60"),
        ],
        # Without the datasets: orders from anywhere near the malls.
        env=inherited | {"MALLARD_DATASETS": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no ZIP table" in done.stdout
    assert "node-2 killed" in done.stdout
    assert "nothing lost, nothing doubled, nothing breached" in done.stdout
