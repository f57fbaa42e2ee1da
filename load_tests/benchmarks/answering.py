"""A contestant's side: questions on standard input, answers on standard output."""

import asyncio
import gc
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Answer = Callable[..., Awaitable[Mapping[str, Any]]]


async def answer_all(answers: Mapping[str, Answer]) -> None:
    """Answer until the input ends; `answers` by what is asked for. An answer that fails ends it.

    SIGTERM ends it as well, so that the server that was started for it is ended too.
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
    """What was loaded stays for ever: no garbage to look for. Every contestant does the same."""
    gc.collect()
    gc.freeze()
