"""Runs contestants, each in a process of its own.

Their runs can interleave, and none pays for the garbage, threads or caches of another. Questions
and answers are JSON objects, one per line.
"""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

_ROOT: Final = Path(__file__).parent.parent.parent
_GONE_WITHIN_S: Final = 15.0
# Loading a million drivers takes a minute or two; a contestant that takes longer hangs.
_ANSWER_WITHIN_S: Final = 600.0
# Run by `python -m`: the engine, which the load tests do not import.
OURS: Final = "load_tests.benchmarks.engine"


class ContestantFailed(Exception):
    """A contestant ended before its answer; its standard error holds the reason."""


class Contestant:
    """A contestant's process; a context manager."""

    def __init__(
        self, name: str, module: str, *flags: str, answer_within_s: float = _ANSWER_WITHIN_S
    ) -> None:
        self.name = name
        self.versions: dict[str, str] = {}
        self._answer_within_s = answer_within_s
        self._command = [sys.executable, "-m", module, *flags]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603 - modules of ours
            self._command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            process.communicate(timeout=_GONE_WITHIN_S)  # it ends with its input
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.communicate(timeout=_GONE_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def ask(self, do: str, **arguments: object) -> Mapping[str, Any]:
        """Ask and wait for the answer; kill a contestant that hangs. Raises `ContestantFailed`."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ContestantFailed(f"{self.name} does not run")
        patience = threading.Timer(self._answer_within_s, process.terminate)
        patience.start()
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            patience.cancel()
        if not line:
            raise ContestantFailed(f"{self.name} ended when it was asked to {do}")
        answer: Mapping[str, Any] = json.loads(line)
        self.versions |= answer.get("versions", {})
        return answer


def end_on_sigterm() -> None:
    """Make SIGTERM raise `SystemExit`, so that contestants end with this process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@contextmanager
def running(contestants: Sequence[Contestant]) -> Iterator[Sequence[Contestant]]:
    """Run contestants for the duration of the block."""
    with ExitStack() as started:
        for contestant in contestants:
            started.enter_context(contestant)
        yield contestants


def versions(contestants: Sequence[Contestant]) -> dict[str, str]:
    """Return the versions that the contestants report."""
    return {name: version for one in contestants for name, version in one.versions.items()}
