"""What tests share: waiting for a condition instead of sleeping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
_POLL_S = 0.01


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], timeout_s: float = ...) -> T: ...
async def eventually(condition: Callable[[], Any], timeout_s: float = 5.0) -> Any:
    """Poll `condition`, plain or async, until it holds, and return what it gave."""
    deadline = time.monotonic() + timeout_s
    while True:
        outcome = condition()
        value = await outcome if inspect.isawaitable(outcome) else outcome
        if value:
            return value
        if time.monotonic() > deadline:
            message = f"not within {timeout_s:g} s: {condition!r} gave {value!r}"
            raise AssertionError(message)
        await asyncio.sleep(_POLL_S)
