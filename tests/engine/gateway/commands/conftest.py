"""Commands that call a running engine, with the secret of the tests' nodes."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mallard_engine.cli.main import main

Mallard = Callable[..., Awaitable[tuple[int, list[str], list[str]]]]


@pytest.fixture
def mallard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Mallard:
    """Run `mallard ARGUMENTS…`; return its status and the lines of its output and errors."""
    monkeypatch.setenv("MALLARD_SECRET", "s" * 32)

    async def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        capsys.readouterr()
        status = await asyncio.to_thread(main, [*arguments, "--data", str(tmp_path)])
        output = capsys.readouterr()
        return status, output.out.splitlines(), output.err.splitlines()

    return run
