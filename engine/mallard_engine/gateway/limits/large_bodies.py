"""Bounds how many large bodies are in memory, and shares that bound fairly between callers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class NoSlot(Exception):
    """Too many bodies are in memory already."""


class GaveWay(Exception):
    """The body was not complete when a caller with fewer bodies needed its slot."""


class LargeBodies:
    """The slots of bodies that do not fit into the buffer of a connection.

    A client may take seconds to send one. So where all slots are taken, a caller takes the oldest
    incomplete body of the caller that has the most, unless that would leave it with fewer. A few
    slow callers then keep no other waiting, and memory stays bounded.

    Args:
        limit_of_one: slots of one caller.
        limit: slots of all callers.
    """

    def __init__(self, limit_of_one: int, limit: int) -> None:
        self._limit_of_one = limit_of_one
        self._limit = limit
        self._held: Counter[Hashable] = Counter()
        # By caller; the oldest first.
        self._incomplete: dict[Hashable, dict[BodySlot, None]] = {}
        self._waiting: dict[asyncio.Future[BodySlot], Hashable] = {}

    def __len__(self) -> int:
        """Number of bodies that have a slot or wait for one."""
        return self._held.total() + len(self._waiting)

    @asynccontextmanager
    async def hold(self, caller: Hashable, *, waits: bool = True) -> AsyncIterator["BodySlot"]:
        """Hold a slot within the context.

        Raises:
            NoSlot: none is free, and the caller does not wait; raised at once.
        """
        slot = self._take(caller)
        if slot is None and not waits:
            raise NoSlot
        if slot is None:
            slot = await self._wait(caller)
        try:
            yield slot
        finally:
            self._release(slot)

    async def _wait(self, caller: Hashable) -> "BodySlot":
        waiter: asyncio.Future[BodySlot] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = caller
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiting.pop(waiter, None)
            if waiter.done() and not waiter.cancelled():
                self._release(waiter.result())  # taken just before the cancellation
            raise

    def _take(self, caller: Hashable) -> "BodySlot | None":
        if self._held[caller] >= self._limit_of_one:
            return None
        if self._held.total() >= self._limit and not self._make_room(caller):
            return None
        self._held[caller] += 1
        return BodySlot(self, caller)

    def _make_room(self, caller: Hashable) -> bool:
        most = max(self._incomplete, key=self._held.__getitem__, default=None)
        if most is None or self._held[most] < self._held[caller] + 2:
            return False
        oldest = next(iter(self._incomplete[most]))
        oldest.give_way()
        self._give_back(oldest)
        return True

    def _release(self, slot: "BodySlot") -> None:
        self._give_back(slot)
        for waiter, caller in list(self._waiting.items()):
            taken = self._take(caller)
            if taken is not None:
                del self._waiting[waiter]
                waiter.set_result(taken)

    def _give_back(self, slot: "BodySlot") -> None:
        self._completed(slot)
        if slot.is_held:
            slot.is_held = False
            self._held[slot.caller] -= 1
            if not self._held[slot.caller]:
                del self._held[slot.caller]

    # -- for `BodySlot`

    def _began(self, slot: "BodySlot") -> None:
        self._incomplete.setdefault(slot.caller, {})[slot] = None

    def _completed(self, slot: "BodySlot") -> None:
        incomplete = self._incomplete.get(slot.caller)
        if incomplete is not None:
            incomplete.pop(slot, None)
            if not incomplete:
                del self._incomplete[slot.caller]


class BodySlot:
    """The slot of one body."""

    __slots__ = ("_bodies", "_limit", "caller", "is_held")

    def __init__(self, bodies: LargeBodies, caller: Hashable) -> None:
        self._bodies = bodies
        self._limit: asyncio.Timeout | None = None
        self.caller = caller
        self.is_held = True

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Read the body within the context.

        Raises:
            GaveWay: another caller took the slot before the body was complete.
        """
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._limit = limit
                self._bodies._began(self)  # noqa: SLF001 - the two are one unit
                try:
                    yield
                finally:
                    self._bodies._completed(self)  # noqa: SLF001
        except TimeoutError:
            if limit.expired():
                raise GaveWay from None
            raise

    def give_way(self) -> None:
        """End the reading: its context raises `GaveWay`."""
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
