"""The engine's connections to a Redis Cluster: one to each primary.

A call goes to the primary of its slot. If a server refuses it because of the cluster's state, the
call had no effect, and it is sent again, to the server that the answer names, until its deadline.

A primary that is down does not affect the markets of the others: each connection has its own outage
(see `Link`).
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar, Unpack

import structlog

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.client import Link, LinkOptions
from mallard_engine.storage.client.errors import LinkReplyError, StoreNotReady
from mallard_engine.storage.client.routing import slot_of, slot_of_key
from mallard_engine.storage.client.topology import ClusterMap, Server

_log = structlog.get_logger(__name__)

# Between the attempts of a call: the second is made at once.
_FIRST_AGAIN_S: Final = 0.005
_LAST_AGAIN_S: Final = 0.05
# A call whose slot no server serves is refused after this long, as in an outage of one server.
_NOBODY_S: Final = 0.5
_DEADLINE_S: Final = 2.0
_SENT_AGAIN: Final = frozenset({"ASK", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "TRYAGAIN"})
# Answers by which a primary says that it cannot serve its slots.
_DOWN: Final = frozenset({"CLUSTERDOWN", "LOADING", "MASTERDOWN"})

T = TypeVar("T")
_Place = tuple[Server, int]
_WHOLE: Final = -1


class ClusterLink:
    """The connections to a cluster, used like a `Link`.

    Args:
        cluster: The cluster.
        per_slot: Open a connection for each slot that is used, when it is first used: a command
            that blocks delays the others of its connection.
        options: Those of each connection.
    """

    def __init__(
        self, cluster: ClusterMap, *, per_slot: bool = False, **options: Unpack[LinkOptions]
    ) -> None:
        self.address = cluster
        self._per_slot = per_slot
        self._on_down: Callable[[], None] | None = options.get("on_down")
        options["on_down"] = self._lost
        self._options = options
        self._deadline_s = options.get("deadline_s", _DEADLINE_S)
        self._links: dict[_Place, Link] = {}
        self._is_started = False
        self._closed = False
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def connected(self) -> bool:
        """Whether every connection is open."""
        return bool(self._links) and self.is_whole

    @property
    def is_whole(self) -> bool:
        """Whether no connection is broken."""
        return all(link.connected for link in self._links.values())

    async def connect(self) -> None:
        """Read the topology and open the connections; those that fail are opened later.

        Raises:
            StoreUnavailable: The cluster or every primary cannot be reached.
            LinkReplyError: A primary refuses the handshake.
        """
        try:
            await self.address.join(self)
        except StoreUnavailable as error:
            raise StoreUnavailable(f"{self.address}: {error}") from error
        self._is_started = True
        if not self._per_slot:
            await self._open_one()

    async def _open_one(self) -> None:
        """Begin to open all connections; return once each is, or one is and the others are slow."""
        opening = [self._spawn(self._open(link)) for link in self._links.values()]
        if not opening:
            raise StoreUnavailable(f"{self.address} has no slots")
        _, slow = await asyncio.wait(opening, timeout=self._deadline_s)
        while slow and not any(link.connected for link in self._links.values()):
            _, slow = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
        failed = [error for it in opening if it.done() and (error := it.result()) is not None]
        for error in failed:
            if len(failed) == len(opening) or not isinstance(error, StoreUnavailable):
                raise error

    async def _open(self, link: Link) -> Exception | None:
        try:
            await link.connect()
        except (StoreUnavailable, LinkReplyError) as error:
            _log.error("store link down", store=str(link.address), reason=str(error))
            link.start()
            return error
        return None

    async def close(self) -> None:
        """Close the connections. Waiting calls fail with `StoreUnavailable`."""
        self._closed = True
        await self.address.leave(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(link.close() for link in self._links.values()))

    async def call(self, *command: str | bytes | float) -> Any:
        """Send a command to the primary of its slot and return the reply: see `Link.call`."""
        slot = slot_of(command)
        began_s = asyncio.get_running_loop().time()
        try:
            return await self._link(slot).call(*command)
        except (StoreNotReady, _NoOwner) as error:
            if slot is None or _code(error) not in _SENT_AGAIN:
                raise
            return await self._send_again(slot, command, error, began_s)

    def link_of(self, key: str) -> Link | None:
        """Return the connection that has this key; None if no server serves its slot."""
        slot = slot_of_key(key)
        owner = self.address.owners[slot]
        return self._links.get(self._place(owner, slot)) if owner is not None else None

    def primaries(self) -> tuple[Link, ...]:
        """Return the connections to all primaries."""
        return tuple(self._links.values())

    def use(self, owners: Sequence[Server | None]) -> None:
        """Connect to new primaries, and leave servers without slots."""
        primaries = dict.fromkeys(owner for owner in owners if owner is not None)
        unused = [
            (server, slot)
            for server, slot in self._links
            if (server not in primaries if slot == _WHOLE else owners[slot] != server)
        ]
        for place in unused:
            _log.info("store link no longer used", store=str(self._links[place].address))
            self._spawn(self._retire(self._links.pop(place)))
        if not self._per_slot:
            for server in primaries:
                self._link_to(server, _WHOLE)

    async def _send_again(
        self,
        slot: int,
        command: Sequence[str | bytes | int | float],
        error: StoreUnavailable,
        began_s: float,
    ) -> Any:
        """Send a command again that had no effect, where the answer says, until its deadline."""
        clock, pause_s = asyncio.get_running_loop().time, 0.0
        while True:
            code = _code(error)
            if code == "MOVED":
                self.address.move(slot, self._target(slot, error))
            elif code in _DOWN:
                self.address.doubt()
                pause_s = max(pause_s, _FIRST_AGAIN_S)
            elif code == "TRYAGAIN":
                pause_s = max(pause_s, _FIRST_AGAIN_S)
            within_s = _NOBODY_S if code in _DOWN else self._deadline_s
            if self._closed or clock() + pause_s > began_s + within_s:
                raise error
            if pause_s:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause_s = min(max(pause_s * 2, _FIRST_AGAIN_S), _LAST_AGAIN_S)
            try:
                if code == "ASK":
                    importing = self._link_to(self._target(slot, error), slot)
                    return await importing.call_asking(*command)
                return await self._link(slot).call(*command)
            except (StoreNotReady, _NoOwner) as another:
                if _code(another) not in _SENT_AGAIN:
                    raise
                error = another

    def _link(self, slot: int | None) -> Link:
        """Return the connection for a slot; for None any that is up."""
        if self._closed:
            raise StoreUnavailable("the link was closed")
        if slot is None:
            every = self.primaries()
            if not every:
                raise StoreUnavailable(f"{self.address} cannot be reached")
            return next((link for link in every if link.connected), every[0])
        owner = self.address.owners[slot]
        if owner is None:
            raise _NoOwner(f"{self.address} has no server for slot {slot}")
        return self._link_to(owner, slot)

    def _link_to(self, server: Server, slot: int) -> Link:
        place = self._place(server, slot)
        link = self._links.get(place)
        if link is None:
            link = self._links[place] = Link(self.address.way_to(server), **self._options)
            if self._is_started or self._per_slot:
                link.start()
        return link

    def _place(self, server: Server, slot: int) -> _Place:
        return server, slot if self._per_slot else _WHOLE

    def _target(self, slot: int, error: Exception) -> Server:
        """Read where `MOVED 3999 127.0.0.1:6381` or `ASK …` leads. Raises `StoreUnavailable`."""
        try:
            host, _, port = str(error).split(" ")[2].rpartition(":")
            owner = self.address.owners[slot]
            # A cluster that does not know its servers' addresses means the one that answered.
            return Server(host or (owner.host if owner else ""), int(port))
        except (IndexError, ValueError):
            raise StoreUnavailable(f"a redirection that cannot be read: {error}") from error

    def _lost(self) -> None:
        """Look for a new primary: a connection has broken."""
        self.address.doubt()
        if self._on_down is not None:
            self._on_down()

    async def _retire(self, link: Link) -> None:
        """Close a connection once its calls have ended."""
        try:
            await asyncio.sleep(self._deadline_s)
        finally:
            await link.close()

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name="cluster link")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _NoOwner(StoreUnavailable):
    """No server serves a slot: nothing was sent."""


def _code(error: StoreUnavailable) -> str:
    return error.code if isinstance(error, StoreNotReady) else "CLUSTERDOWN"
