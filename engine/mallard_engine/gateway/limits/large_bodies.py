"""Bounds how many large bodies are in memory, and shares that bound fairly between callers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Final

# A body that has begun to arrive is not called slow before this age.
_GRACE_S: Final = 1.0
# How often waiting callers look whether a body has become too slow.
_LOOK_EVERY_S: Final = 0.1


class NoSlot(Exception):
    """Too many bodies are in memory already."""


class GaveWay(Exception):
    """The body was not complete when a caller with fewer bodies needed its slot."""


class LargeBodies:
    """The slots of bodies that do not fit into the buffer of a connection.

    A client may take seconds to send one. So where all slots are taken, a caller takes the oldest
    incomplete body of the caller that has the most, unless that would leave it with fewer. A caller
    that has none takes the oldest body of any caller that arrives at less than the least rate.
    Slow callers then keep no other waiting for long, and memory stays bounded.

    Args:
        limit_of_one: slots of one caller.
        limit: slots of all callers.
        least_per_s: the least rate, in bytes a second since the body was first read; 0: none.
    """

    def __init__(self, limit_of_one: int, limit: int, *, least_per_s: float = 0) -> None:
        self._limit_of_one = limit_of_one
        self._limit = limit
        self._least_per_s = least_per_s
        self._timer: asyncio.TimerHandle | None = None
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
        self._look_later()
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
        if most is None:
            return False
        if self._held[most] >= self._held[caller] + 2:
            last: BodySlot | None = next(iter(self._incomplete[most]))
        else:
            last = None if self._held[caller] else self._slowest()
        if last is None:
            return False
        last.give_way()
        self._give_back(last)
        return True

    def _slowest(self) -> "BodySlot | None":
        """Return the oldest incomplete body that arrives too slowly."""
        now_s = asyncio.get_running_loop().time()
        slow = [
            slot
            for slots in self._incomplete.values()
            for slot in slots
            if now_s - slot.began_s >= _GRACE_S
            and slot.size < (now_s - slot.began_s) * self._least_per_s
        ]
        return min(slow, key=lambda slot: slot.began_s, default=None)

    def _look_later(self) -> None:
        if self._timer is None and self._waiting and self._least_per_s:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._timer = None
        self._serve()
        self._look_later()

    def _release(self, slot: "BodySlot") -> None:
        self._give_back(slot)
        self._serve()

    def _serve(self) -> None:
        for waiter, caller in list(self._waiting.items()):
            if waiter.done():  # cancelled, and its task has not run since
                continue
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
        slot.began_s = asyncio.get_running_loop().time()
        self._incomplete.setdefault(slot.caller, {})[slot] = None

    def _completed(self, slot: "BodySlot") -> None:
        incomplete = self._incomplete.get(slot.caller)
        if incomplete is not None:
            incomplete.pop(slot, None)
            if not incomplete:
                del self._incomplete[slot.caller]


class BodySlot:
    """The slot of one body. ``size``: how many bytes of it have arrived."""

    __slots__ = ("_bodies", "_limit", "began_s", "caller", "is_held", "size")

    def __init__(self, bodies: LargeBodies, caller: Hashable) -> None:
        self._bodies = bodies
        self._limit: asyncio.Timeout | None = None
        self.caller = caller
        self.is_held = True
        self.began_s = 0.0
        self.size = 0

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

    def received(self, size: int) -> None:
        """Note that more of the body has arrived."""
        self.size += size

    def give_way(self) -> None:
        """End the reading: its context raises `GaveWay`."""
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
