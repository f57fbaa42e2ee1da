"""The loop of a contestant: questions on standard input, answers on standard output."""

import asyncio
import gc
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Answer = Callable[..., Awaitable[Mapping[str, Any]]]


async def answer_all(answers: Mapping[str, Answer]) -> None:
    """Answer until the input ends or an answer fails; `answers` by question.

    SIGTERM ends it by an exception, so that the contestant's server is stopped too.
    """
    loop = asyncio.get_running_loop()
    if task := asyncio.current_task():
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        question = json.loads(line)
        answer = await answers[question.pop("do")](**question)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def settle() -> None:
    """Freeze the loaded objects, as they are never garbage. Every contestant does the same."""
    gc.collect()
    gc.freeze()
