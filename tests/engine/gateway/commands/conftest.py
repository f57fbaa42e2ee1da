"""Commands that call a running engine, with the secret of the tests' nodes."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests import commands

Mallard = Callable[..., Awaitable[tuple[int, list[str], list[str]]]]


@pytest.fixture
def mallard(tmp_path: Path) -> Mallard:
    """Run `mallard ARGUMENTS…`; return its status and the lines of its output and errors."""
    clean = {name: value for name, value in os.environ.items() if "MALLARD" not in name}
    env = clean | {"MALLARD_SECRET": "s" * 32, "MALLARD_DATA": str(tmp_path)}

    async def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        done = await asyncio.to_thread(commands.run, *arguments, env=env)
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    return run
