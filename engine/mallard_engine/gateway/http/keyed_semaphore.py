"""Limits how many tasks work on the same key at a time.

A flash sale submits hundreds of orders of one mall within a moment. Without a limit they would keep
the event loop busy for as long as all of them take, and every other order of the node would wait
for the last one. The orders of another mall have another key and do not wait. At the same mall,
the callers take turns, so another caller waits for a few orders only.
"""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mallard_engine.gateway.limits.fair_semaphore import FairSemaphore


class QueueFull(Exception):
    """The key has `max_waiting` waiting tasks already."""


@dataclass(slots=True)
class _Entry:
    semaphore: FairSemaphore
    users: int = 0  # tasks that hold the semaphore or wait for it


class KeyedSemaphore:
    """A `FairSemaphore` for each key, created on first use and dropped after the last.

    Args:
        limit: tasks that may hold one key at a time. The waiting tasks of one caller acquire it in
            FIFO order.
        max_waiting: tasks that may wait for one key.
    """

    def __init__(self, limit: int, *, max_waiting: int) -> None:
        self._limit = limit
        self._max_users = limit + max_waiting
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        """Number of tasks that hold a key or wait for one."""
        return sum(entry.users for entry in self._entries.values())

    @asynccontextmanager
    async def acquire(self, key: str, caller: Hashable) -> AsyncIterator[None]:
        """Hold the key within the context, for this caller.

        Raises:
            QueueFull: too many tasks wait for this key already; raised without waiting.
        """
        entry = self._entries.setdefault(key, _Entry(FairSemaphore(self._limit, self._limit)))
        if entry.users >= self._max_users:
            raise QueueFull(key)
        entry.users += 1
        try:
            await entry.semaphore.acquire(caller)
            try:
                yield
            finally:
                entry.semaphore.release(caller)
        finally:
            entry.users -= 1
            if not entry.users:
                del self._entries[key]
