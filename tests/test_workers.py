"""The plugin that forks the workers, on small tests of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = """
import os, signal, pytest

@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return os.getpid()

@pytest.mark.parametrize("number", range(30))
def test_passes(number, once, tmp_path):
    assert (tmp_path / "file").write_text(str(once)) and once == os.getpid()

def test_fails(capfd):
    os.write(1, b"captured")
    assert capfd.readouterr().out == "something else"

def test_is_skipped():
    pytest.skip("for a reason")

@pytest.fixture
def broken():
    yield
    raise ValueError("in the teardown")

def test_is_torn_down_badly(broken):
    pass
"""
DIES = """
import os, pytest

def test_dies():
    os._exit(7)

def test_comes_after():
    pass
"""


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the folder's tests with the plugin; return the status and the output."""
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -rA\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.workers", *arguments, "."],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.returncode, done.stdout


def outcomes(output: str) -> list[str]:
    return sorted(re.findall(r"^(?:PASSED|FAILED|SKIPPED|ERROR) .*", output, re.MULTILINE))


def test_workers_report_what_one_process_reports(tmp_path: Path) -> None:
    for name in ("test_one.py", "test_two.py"):
        (tmp_path / name).write_text(TESTS)
    expected_status, expected = run_pytest(tmp_path)
    status, output = run_pytest(tmp_path, "--workers", "3")
    assert (status, outcomes(output)) == (expected_status, outcomes(expected))
    assert "2 failed, 62 passed, 2 skipped, 2 errors" in output


def test_worker_that_dies_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(DIES)
    (tmp_path / "test_two.py").write_text(TESTS.partition("def test_fails")[0])
    status, output = run_pytest(tmp_path, "--workers", "2")
    assert status == 1
    assert "FAILED test_one.py::test_dies - the worker ended with 7" in output
    assert "1 failed, 30 passed" in output


def test_failure_ends_the_run_if_it_is_the_last_allowed(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text("def test_fails():\n    assert False\n")
    (tmp_path / "test_two.py").write_text(
        "import pytest, time\n"
        "@pytest.mark.parametrize('n', range(200))\n"
        "def test_takes_time(n):\n    time.sleep(0.02)\n"
    )
    status, output = run_pytest(tmp_path, "-x", "--workers", "2")
    assert status == 1
    assert "stopping after 1 failures" in output
    assert len(outcomes(output)) < 200
