"""Knows which primary of a cluster serves which slots, by redis-py's discovery.

The topology is read when the engine connects, once in a while, and at once when a server answers
that a slot is elsewhere or a connection breaks; again and again while a primary is away, as another
one may take over at any moment.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol, Self

import redis
import structlog
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from mallard_engine.logs import RateLimitedLog
from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.address import Address, Group
from mallard_engine.storage.client.routing import SLOTS
from mallard_engine.tasks import cancel, in_full

_log = structlog.get_logger(__name__)
_often = RateLimitedLog(_log, interval_s=10.0)

_PORT: Final = 6379
# The intervals at which the topology is read: usually, and while something has changed.
_LOOK_S: Final = 15.0
_PAUSE_S: Final = 0.2
# After this time without an answer a second server is asked as well, or a topology that lacks some
# slots is used.
_ASK_S: Final = 0.4
# How long a server may take: on a busy machine a TLS handshake alone may take seconds.
_SLOW_S: Final = 8.0


class Server(NamedTuple):
    """A server of a cluster."""

    host: str
    port: int


class _Topology(NamedTuple):
    """Which server has each slot, and every server."""

    owners: Sequence[Server | None]
    servers: tuple[Server, ...]

    def covered(self) -> int:
        """Return how many slots have a server."""
        return sum(owner is not None for owner in self.owners)


_NOTHING: Final = _Topology((), ())


class Follower(Protocol):
    """Connections to a cluster, which follow its topology."""

    @property
    def is_whole(self) -> bool:
        """Whether none of them is broken."""

    def use(self, owners: Sequence[Server | None]) -> None:
        """Use a topology from now on."""


class ClusterMap:
    """The topology of a cluster, `redis+cluster://HOST:PORT,…`, and the ways to its servers.

    User, password and TLS are those of every server. The hosts of the URL need not be alive later;
    if all other servers have got other addresses, they find the cluster again.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._known: tuple[Server, ...] = ()
        self.owners: Sequence[Server | None] = [None] * SLOTS
        self.why_unread = "its topology was not read yet"
        self._followers: list[Follower] = []
        self._is_stale = asyncio.Event()
        # Done when nobody follows any more. The reading under way then ends: a task that is
        # cancelled while it closes redis-py's connections would leave some open.
        self._end: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. Raises `ValueError`."""
        group = Group.parse(url, port=_PORT)
        if group.path not in {"", "0"} or group.server.db:
            raise ValueError("a cluster has no databases: redis+cluster://HOST:PORT,…")
        return cls(group)

    def __str__(self) -> str:
        """Return the address without secrets, for messages and logs."""
        return f"the cluster of {self._group}"

    def way_to(self, server: Server) -> Address:
        """Return the address of a server."""
        there = self._group.server
        return Address(
            server.host, server.port, "", 0, there.username, there.password, there.tls, moves=True
        )

    async def join(self, follower: Follower) -> None:
        """Read the topology for a follower, and keep reading it until the follower leaves.

        Raises:
            StoreUnavailable: It cannot be read.
        """
        if self._end is None or self._end.done():
            self._end = asyncio.get_running_loop().create_future()
        self.owners = await self._discover(self._end)
        self._followers.append(follower)
        self._notify_followers()
        if self._task is None:
            self._task = asyncio.create_task(self._follow(self._end), name="cluster topology")

    async def leave(self, follower: Follower) -> None:
        """End what `join` began."""
        if follower in self._followers:
            self._followers.remove(follower)
        if self._task is not None and self._end is not None and not self._followers:
            self._is_stale.set()
            if not self._end.done():
                self._end.set_result(None)
            await asyncio.wait({self._task})
            self._task = None

    def doubt(self) -> None:
        """Read the topology again soon."""
        self._is_stale.set()

    def move(self, slot: int, server: Server) -> None:
        """Note that a slot is elsewhere, which the next reading confirms."""
        if self.owners[slot] != server:
            owners = list(self.owners)
            owners[slot] = server
            self.owners = owners
            self._notify_followers()
        self.doubt()

    def _notify_followers(self) -> None:
        for follower in self._followers:
            follower.use(self.owners)

    async def _follow(self, end: asyncio.Future[None]) -> None:
        while self._followers:
            if all(follower.is_whole for follower in self._followers):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._is_stale.wait()
            self._is_stale.clear()
            try:
                self.owners = await self._discover(end)
                self._notify_followers()
            except StoreUnavailable as error:
                if end.done():
                    return
                self.why_unread = str(error)
                _often.error("the cluster's topology cannot be read", reason=self.why_unread)
            except Exception:  # noqa: BLE001 - an outage must not end the attempts
                _log.exception("the cluster's topology cannot be read")
            await asyncio.wait({end}, timeout=_PAUSE_S)

    async def _discover(self, end: asyncio.Future[None]) -> Sequence[Server | None]:
        """Ask the known servers for the topology, in random order, until one answers.

        Raises:
            StoreUnavailable: None of them answers, or they are no cluster.
        """
        servers = list(dict.fromkeys((*self._known, *(Server(*it) for it in self._group.hosts))))
        random.shuffle(servers)
        asked: set[asyncio.Task[_Topology]] = set()
        best: _Topology | None = None
        problem: StoreUnavailable | None = None
        try:
            while servers or asked:
                if servers:
                    asked.add(asyncio.create_task(self._ask(servers.pop())))
                within_s = _ASK_S if servers or best is not None else None
                awaited: set[asyncio.Future[Any]] = {*asked, end}
                await asyncio.wait(awaited, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
                if end.done():
                    break
                ended = {each for each in asked if each.done()}
                asked -= ended
                for each in ended:
                    try:
                        best = max(each.result(), best or _NOTHING, key=_Topology.covered)
                    except StoreUnavailable as error:
                        problem = error
                if best is not None and (best.covered() == SLOTS or not (ended or servers)):
                    break
        finally:
            await cancel(*asked)
        if best is None:
            raise problem or StoreUnavailable("it is not followed any more")
        self._known = best.servers
        return best.owners

    async def _ask(self, server: Server) -> _Topology:
        """Return the topology as one server knows it. Raises `StoreUnavailable`."""
        options: dict[str, Any] = dict(self._group.options)
        if self._group.server.password:
            options["password"] = self._group.server.password
        if self._group.server.username:
            options["username"] = self._group.server.username
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(*server)],
            require_full_coverage=False,
            socket_timeout=_SLOW_S,
            socket_connect_timeout=_SLOW_S,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        found = cluster.nodes_manager
        asked = list(found.startup_nodes.values())
        try:
            # Not the cluster client's own `initialize`, which reads the table of commands as well.
            async with asyncio.timeout(_SLOW_S):
                await found.initialize()
        except TimeoutError:
            raise StoreUnavailable("no answer in time") from None
        except (redis.RedisError, redis.exceptions.RedisClusterException, IndexError) as error:
            raise StoreUnavailable(_first_line(error)) from error
        finally:
            await in_full(_close(found, asked))
        owners: list[Server | None] = [None] * SLOTS
        for slot, nodes in found.slots_cache.items():
            owners[slot] = Server(nodes[0].host, int(nodes[0].port))
        known = tuple(Server(it.host, int(it.port)) for it in found.nodes_cache.values())
        return _Topology(owners, known)


async def _close(found: Any, asked: Sequence[ClusterNode]) -> None:
    await found.aclose()
    for node in asked:
        await node.disconnect()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or "it has no slots"
