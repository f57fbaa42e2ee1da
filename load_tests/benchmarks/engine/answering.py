"""Questions on standard input, answers on standard output: a JSON object a line each."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Answer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


async def answer_all(answer: Answer) -> None:
    """Answer until the input ends. An answer that fails ends it too: the traceback says why."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        sys.stdout.write(json.dumps(await answer(json.loads(line))) + "\n")
        sys.stdout.flush()
