"""Contestants: each a process of its own, so that runs interleave and nobody pays for another's
garbage, threads or caches. Questions and answers are JSON objects, a line each."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

_ROOT: Final = Path(__file__).parent.parent.parent
_GONE_WITHIN_S: Final = 30.0
# `python -m` with this: the engine itself, which the load tests do not import.
OURS: Final = "engine.bench"


class ContestantFailed(Exception):
    """A contestant ended before its answer; its standard error says why."""


class Contestant:
    """A process that answers. Use it in a `with` block."""

    def __init__(self, name: str, module: str, *flags: str) -> None:
        self.name = name
        self.versions: dict[str, str] = {}
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
        process.communicate()  # its input ends, and then it does
        try:
            process.wait(_GONE_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def ask(self, do: str, **arguments: object) -> Mapping[str, Any]:
        """Ask, and wait for the answer. Raises `ContestantFailed`."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise ContestantFailed(f"{self.name} does not run")
        try:
            process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            line = ""
        else:
            line = process.stdout.readline()
        if not line:
            raise ContestantFailed(f"{self.name} ended when it was asked to {do}")
        answer: Mapping[str, Any] = json.loads(line)
        self.versions |= answer.get("versions", {})
        return answer


@contextmanager
def running(contestants: Sequence[Contestant]) -> Iterator[Sequence[Contestant]]:
    """All of them, ended at the end whatever happens."""
    with ExitStack() as started:
        for contestant in contestants:
            started.enter_context(contestant)
        yield contestants


def versions(contestants: Sequence[Contestant]) -> dict[str, str]:
    """What they run on, as they told."""
    return {name: told for one in contestants for name, told in one.versions.items()}
