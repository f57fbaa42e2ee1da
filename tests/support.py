"""What tests share: waiting for a condition instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
_POLL_S = 0.01


async def eventually(
    condition: Callable[[], T | Awaitable[T]],
    timeout_s: float = 5.0,
) -> T:
    """Poll `condition`, plain or async, until it holds, and return what it gave."""
    deadline = time.monotonic() + timeout_s
    while True:
        outcome = condition()
        value: T = await outcome if inspect.isawaitable(outcome) else outcome
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"not within {timeout_s:g} s: {condition!r} gave {value!r}"
            raise AssertionError(message)
        await asyncio.sleep(_POLL_S)
