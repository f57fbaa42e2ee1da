"""Contestants: each a process of its own, so that runs interleave and nobody pays for another's
garbage, threads or caches. Questions and answers are JSON objects, a line each."""

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
# Loading a million drivers takes a minute or two; whoever takes longer than this hangs.
_ANSWER_WITHIN_S: Final = 600.0
# `python -m` with this: the engine itself, which the load tests do not import.
OURS: Final = "load_tests.benchmarks.engine"


class ContestantFailed(Exception):
    """A contestant ended before its answer; its standard error says why."""


class Contestant:
    """A process that answers. Use it in a `with` block."""

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
            process.communicate(timeout=_GONE_WITHIN_S)  # its input ends, and then it does
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.communicate(timeout=_GONE_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

    def ask(self, do: str, **arguments: object) -> Mapping[str, Any]:
        """Ask, and wait for the answer. Raises `ContestantFailed`; one that hangs is ended."""
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
    """Let SIGTERM end this process as an exit does, so that contestants end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@contextmanager
def running(contestants: Sequence[Contestant]) -> Iterator[Sequence[Contestant]]:
    """All of them, ended at the end whatever happens."""
    with ExitStack() as started:
        for contestant in contestants:
            started.enter_context(contestant)
        yield contestants


def versions(contestants: Sequence[Contestant]) -> dict[str, str]:
    """What they run on, as they report it."""
    return {name: version for one in contestants for name, version in one.versions.items()}
