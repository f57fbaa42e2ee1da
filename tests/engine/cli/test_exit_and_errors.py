"""How commands end: a closed pipe, signals in the background, a full disk, a missing extra."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import commands

pytestmark = pytest.mark.finding("E")

MALLARD = str(Path(sys.executable).with_name("mallard"))
WITHIN_S = 60


def environment(**more: str) -> dict[str, str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("MALLARD_")}
    return inherited | {"MALLARD_SECRET": "s" * 32} | more


def run(
    *command: str, output: int = subprocess.PIPE, **more: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


def without(packages: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `mallard` where these packages are not installed."""
    script = (
        "import sys\n"
        f"gone = {packages.split()!r}\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in gone:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "from mallard_engine.cli.main import main\n"
        f"sys.exit(main({list(arguments)!r}))\n"
    )
    return run(sys.executable, "-c", script)


@pytest.mark.parametrize("arguments", [["--help"], ["serve"], ["drivers", "--market", "phoenix"]])
def test_incomplete_installation_names_the_package(arguments: list[str]) -> None:
    done = without(
        "numpy scipy shapely redis rich jwt starlette uvicorn uvloop structlog", *arguments
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "pip install mallard-engine" in line


def test_closed_pipe_ends_a_command_without_a_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run(MALLARD, "config", "check", output=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(MALLARD, "config", "check", output=full.fileno())
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "No space left" in line


def test_unprintable_output_is_escaped() -> None:
    done = run(MALLARD, "config", "check", PYTHONIOENCODING="ascii", MALLARD_DATA="d\u00e9j\u00e0")
    assert done.returncode == 0, done.stderr
    assert "data = d\\xe9j\\xe0" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_drivers_in_the_background_end_on_a_signal(number: signal.Signals) -> None:
    # A shell without job control starts what runs in the background with SIGINT ignored.
    ignoring = ["sh", "-c", 'trap \'\' INT; exec "$0" "$@"']
    command = [*ignoring, MALLARD, "drivers", "--market", "phoenix", "--count", "1"]
    command += ["--url", "ws://127.0.0.1:1"]
    with subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert "connected" in process.stdout.readline()
            process.send_signal(number)
            _, output = process.communicate(timeout=WITHIN_S)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "no driver was welcomed" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "arguments",
    [
        ["roads", "show", "."],
        ["roads", "build", "/dev/null"],
        ["submit", "."],
        ["replay", "day", "."],
        ["replay", "record", ".", "--market", "phoenix"],
        ["simulate", "mdrp", "/dev/null"],
        ["simulate", "mallday", "--policy", "."],
        ["config", "check", "--config", "."],
        ["token", "orders", "a", "--config", "/nowhere"],
    ],
)
def test_file_of_the_wrong_kind_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    done = commands.run(*arguments, env=environment(), cwd=tmp_path)
    assert done.returncode in {1, 2}
    (line,) = done.stderr.splitlines()
    assert line.startswith("mallard: ")
