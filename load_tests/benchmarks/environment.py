"""The environment of a measurement: commit, machine and versions."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parent.parent.parent
# Benchmarks write here themselves: no change of the measured code.
_NOT_SOURCES: Final = (":(exclude)load_tests/results", ":(exclude)docs")


def commit() -> str:
    """Return the short commit, with a `+` if the sources have uncommitted changes."""
    head = _git("rev-parse", "--short=10", "HEAD")
    return f"{head}+" if _git("status", "--porcelain", "--", ".", *_NOT_SOURCES) else head


def now() -> str:
    """Return the time in UTC as RFC 3339, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine() -> dict[str, str]:
    """Return processor, cores, memory and kernel."""
    return {
        "processor": _first_of("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the installed packages."""
    found = {"Python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _memory() -> str:
    kilobytes = _first_of("/proc/meminfo", "MemTotal").partition(" ")[0]
    return f"{int(kilobytes) / 2**20:.0f} GiB" if kilobytes else "unknown"


def _first_of(file: str, name: str) -> str:
    """Return the value of the first `name : value` line, or an empty string."""
    path = Path(file)
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for line in lines:
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""


def _git(*words: str) -> str:
    """Return the output of git; `unknown` outside a repository."""
    try:
        return subprocess.run(  # noqa: S603 - git with fixed arguments
            ["git", "-C", _ROOT, *words],  # noqa: S607
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
