"""Waits until what was written is on a replica or on the disk, for markets that demand it.

WAIT and WAITAOF speak of the writes of their own connection, and block it. So they have connections
of their own, one to each primary, and a small write precedes each of them: it follows, in the
server's replication stream, everything whose reply has come. Calls that end while one wait is under
way share the next one.

A wait is for every replica that a failover might promote (see `replicas.py`), and for at least one:
a master without replicas confirms nothing.

A wait must speak of the server that ran the transition. After a failover it would speak of another
one, which may have lost the write: then it fails.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import StoreLink
from mallard_engine.storage.keys import MarketKeys
from mallard_engine.storage.replicas import Replicas, Server
from mallard_engine.tasks import cancel

Demand = Literal["replica", "disk"]

# A call waits for at most two of these, and is refused within a second.
WAIT_MS: Final = 450
# Transitions on whose confirmation clients rely: submissions, accepts, steps of parcels.
ACKNOWLEDGED: Final = frozenset(
    {"accept", "claim", "progress", "returned", "shop_handover", "submit", "take_over"}
)
_KEPT_MS: Final = 60_000
# The write before a wait. A full server runs it as well: it takes steps, which are to be confirmed.
_MARK: Final = "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], '', 'PX', ARGV[1])"
_WHERE: Final = {"replica": "on every replica", "disk": "on the disk"}
_FAILED_OVER: Final = "another server has taken over the store: what was written may be lost"


class NotDurable(StoreUnavailable):
    """A write was made, and is not where the market's policy wants it: it may be lost."""


class Barriers:
    """The waits of a node. ``link``: connections for them alone."""

    def __init__(self, link: StoreLink) -> None:
        self.link = link
        self._opening: asyncio.Task[None] | None = None
        self._turns: dict[tuple[Link, Demand], _Turns] = {}
        self.replicas = Replicas(time.monotonic)

    async def passed(self, keys: MarketKeys, demand: Demand, wrote_on: Link | None) -> None:
        """Return once every write that was answered before is safe.

        Args:
            keys: The market.
            demand: Where it must be.
            wrote_on: The connection that has the market, which wrote it.

        Raises:
            NotDurable: It was not there in time. A repeated call finds what was written.
            StoreUnavailable: The server cannot be reached. A repeated call finds what was written
            here, too.
        """
        opening = wrote_on.opening if wrote_on is not None else 0
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
        turns = self._turns.setdefault((link, demand), _Turns())
        try:
            waited_on = await turns.next(lambda: self._wait(link, key, demand))
        except LinkReplyError as error:
            if isinstance(error, StoreUnavailable):
                raise
            raise NotDurable(f"the store cannot wait for its writes: {error}") from error
        if wrote_on.opening != opening or not wrote_on.connected or wrote_on.peer != waited_on:
            raise NotDurable(_FAILED_OVER)

    async def close(self) -> None:
        """Close the connections, if there are any."""
        if self._opening is not None:
            await cancel(self._opening)
            await self.link.close()

    async def _wait(self, link: Link, key: str, demand: Demand) -> object:
        """Wait on the server that a connection leads to, and return its address."""
        mark = ("EVAL", _MARK, 1, key, _KEPT_MS)
        if demand == "disk":
            _, reached = await link.call_all(mark, ("WAITAOF", 1, 0, WAIT_MS))
            if reached[0] < 1:
                raise _late(demand)
            return link.peer
        ends_s = time.monotonic() + WAIT_MS / 1000
        while True:
            peer, opening = link.peer, link.opening
            primary = server_of(peer)
            wanted = self.replicas.wanted(primary)
            left_ms = max(1, round((ends_s - time.monotonic()) * 1000))
            wait = ("WAIT", max(1, len(wanted)), left_ms)
            _, written, reached, now = await link.call_all(mark, ("ROLE",), wait, ("ROLE",))
            if link.opening != opening:
                raise NotDurable(_FAILED_OVER)
            offsets = _offsets(now)
            have = {each for each, offset in offsets.items() if offset >= written[1]}
            self.replicas.note(primary, have, offsets.keys())
            if have and have.issuperset(self.replicas.wanted(primary)):
                return peer
            # Otherwise one has answered that was not known, or instead of another one.
            if reached < wait[1] or time.monotonic() >= ends_s:
                raise _late(demand)


def _late(demand: Demand) -> NotDurable:
    return NotDurable(f"it is written, and not {_WHERE[demand]} in time: repeat the call")


def _offsets(role: Any) -> dict[Server, int]:
    """Return how far each replica in a master's ROLE is; without those that were never in step."""
    if role[0] != b"master":
        raise NotDurable(_FAILED_OVER)
    offsets = {server_of((host, port)): int(offset) for host, port, offset in role[2]}
    return {each: offset for each, offset in offsets.items() if offset}


def server_of(peer: Any) -> Server:
    """Return the server of a peer's address, or of an entry of ROLE."""
    if not isinstance(peer, tuple):  # a Unix socket
        return "", 0
    host, port = peer[:2]
    return host.decode() if isinstance(host, bytes) else host, int(port)


class _Turns:
    """Waits one after the other; all who ask during one share the next."""

    def __init__(self) -> None:
        self._now: asyncio.Task[object] | None = None
        self._next: asyncio.Task[object] | None = None

    async def next(self, work: Callable[[], Coroutine[Any, Any, object]]) -> object:
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._now, work))
            self._next.add_done_callback(_retrieve)
        return await asyncio.shield(self._next)

    async def _after(
        self, before: asyncio.Task[object] | None, work: Callable[[], Coroutine[Any, Any, object]]
    ) -> object:
        if before is not None and not before.done():
            await asyncio.wait({before})
        self._now, self._next = self._next, None
        return await work()


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the error of a wait whose callers have gone, so that it is not logged."""
    if not task.cancelled():
        task.exception()
