"""Questions on standard input, answers on standard output, one JSON object per line."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Answer = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


async def answer_all(answer: Answer) -> None:
    """Answer until the input ends or an answer fails with a traceback."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        sys.stdout.write(json.dumps(await answer(json.loads(line))) + "\n")
        sys.stdout.flush()
