"""Waits until what was written is on a replica or on the disk, for markets that demand it.

WAIT and WAITAOF speak of the writes of their own connection, and block it. So they have connections
of their own, one to each primary, and a small write precedes each of them: it follows, in the
server's replication stream, everything whose reply has come. Calls that end while one wait is under
way share the next one.

With several replicas a wait is for all that are connected: a Sentinel may promote any of them, and
knows their offsets as of half a second ago or more. One that does not answer is left out for a
while: it does not answer Sentinels either.

A wait must speak of the server that ran the transition. After a failover it would speak of another
one, which may have lost the write: then it fails.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.keys import MarketKeys

Demand = Literal["replica", "disk"]

# Shorter than the time after which a silent connection is cut.
WAIT_MS: Final = 700
# Transitions whose success somebody relies on: an order taken, a job taken, a parcel handed over.
ACKNOWLEDGED: Final = frozenset(
    {"accept", "claim", "progress", "returned", "shop_handover", "submit", "take_over"}
)
_KEPT_MS: Final = 60_000
# How long a replica is not waited for that did not answer.
_LEFT_OUT_S: Final = 5.0
_WHERE: Final = {"replica": "on a replica", "disk": "on the disk"}


class NotDurable(StoreUnavailable):
    """A write was made, and is not where the market's policy wants it: it may be lost."""


class Barriers:
    """The waits of a node. ``link``: connections for them alone."""

    def __init__(self, link: StoreLink) -> None:
        self.link = link
        self._opening: asyncio.Task[None] | None = None
        self._turns: dict[tuple[Link, Demand], _Turns] = {}
        # By connection to a primary: its replicas that answer, as of the last wait, and until when
        # the others are left out.
        self._replicas: dict[Link, int] = {}
        self._left_out_until: dict[Link, float] = {}

    async def passed(self, keys: MarketKeys, demand: Demand, wrote_on: Link | None) -> None:
        """Return once everything is safe whose reply has come.

        Args:
            keys: The market.
            demand: Where it must be.
            wrote_on: The connection that has the market, which wrote it.

        Raises:
            NotDurable: It is not there in time. A repeated call finds what was written.
            StoreUnavailable: The server cannot be reached: the same.
        """
        if self._opening is None:
            self._opening = asyncio.create_task(self.link.connect())
        try:
            await asyncio.shield(self._opening)
        except StoreUnavailable:
            self._opening = None
            raise
        key = keys.key("barrier:wait")
        link = self.link.link_of(key)
        if link is None or wrote_on is None:
            raise StoreUnavailable("the store has no server for this market")
        opening = wrote_on.opening
        turns = self._turns.setdefault((link, demand), _Turns())
        try:
            await turns.next(lambda: self._wait(link, key, demand))
        except LinkReplyError as error:
            if isinstance(error, StoreUnavailable):
                raise
            raise NotDurable(f"the store cannot wait for its writes: {error}") from error
        if wrote_on.opening != opening or not wrote_on.connected or wrote_on.peer != link.peer:
            raise NotDurable("the store has failed over: what was written may be lost")

    async def close(self) -> None:
        """Close the connections, if there are any."""
        if self._opening is not None:
            await asyncio.wait({self._opening})
            _retrieve(self._opening)
            await self.link.close()

    async def _wait(self, link: Link, key: str, demand: Demand) -> None:
        mark = ("SET", key, "", "PX", _KEPT_MS)
        if demand == "disk":
            _, reached = await link.call_both(mark, ("WAITAOF", 1, 0, WAIT_MS))
            if reached[0] < 1:
                raise NotDurable(
                    f"it is written, and not {_WHERE[demand]} in time: repeat the call"
                )
            return
        clock = asyncio.get_running_loop().time
        wanted = self._replicas.get(link, 1)
        while True:
            _, reached = await link.call_both(mark, ("WAIT", wanted, WAIT_MS))
            if reached < 1:
                raise NotDurable(
                    f"it is written, and not {_WHERE[demand]} in time: repeat the call"
                )
            self._replicas[link] = reached
            if reached < wanted:
                self._left_out_until[link] = clock() + _LEFT_OUT_S
            if clock() < self._left_out_until.get(link, 0.0):
                return
            connected = len((await link.call("ROLE"))[2])
            if connected <= reached:
                return
            wanted = connected


class _Turns:
    """Waits one after the other; all who ask during one share the next."""

    def __init__(self) -> None:
        self._now: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def next(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._now, work))
            self._next.add_done_callback(_retrieve)
        await asyncio.shield(self._next)

    async def _after(
        self, before: asyncio.Task[None] | None, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._now, self._next = self._next, None
        await work()


def _retrieve(task: asyncio.Task[None]) -> None:
    """Retrieve the error of a wait whose callers have gone, so that it is not logged."""
    if not task.cancelled():
        task.exception()
