"""Knows which primary of a cluster serves which slots, by redis-py's discovery.

The topology is read when the engine connects, once in a while, and at once when a server answers
that a slot is elsewhere or a connection breaks; again and again while a primary is away, as another
one may take over at any moment.
"""

import asyncio
import contextlib
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

_log = structlog.get_logger(__name__)
_often = RateLimitedLog(_log, interval_s=10.0)

_PORT: Final = 6379
# The intervals at which the topology is read: usually, and while something has changed.
_LOOK_S: Final = 15.0
_PAUSE_S: Final = 0.2
# A node that does not answer in this time is skipped.
_ASK_S: Final = 0.4


class Server(NamedTuple):
    """A server of a cluster."""

    host: str
    port: int


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
        self._has_ended = asyncio.Event()
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
        self.owners = await self._discover()
        self._followers.append(follower)
        self._tell()
        if self._task is None:
            self._has_ended.clear()
            self._task = asyncio.create_task(self._follow(), name="cluster topology")

    async def leave(self, follower: Follower) -> None:
        """End what `join` began."""
        if follower in self._followers:
            self._followers.remove(follower)
        if self._task is not None and not self._followers:
            # Not cancelled: redis-py would leave connections open.
            self._is_stale.set()
            self._has_ended.set()
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
            self._tell()
        self.doubt()

    def _tell(self) -> None:
        for follower in self._followers:
            follower.use(self.owners)

    async def _follow(self) -> None:
        while self._followers:
            if all(follower.is_whole for follower in self._followers):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._is_stale.wait()
            self._is_stale.clear()
            try:
                self.owners = await self._discover()
                self._tell()
            except StoreUnavailable as error:
                self.why_unread = str(error)
                _often.error("the cluster's topology cannot be read", reason=self.why_unread)
            except Exception:  # noqa: BLE001 - an outage must not end the attempts
                _log.exception("the cluster's topology cannot be read")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_S):
                    await self._has_ended.wait()

    async def _discover(self) -> Sequence[Server | None]:
        """Ask the known servers for the topology, in random order, until one answers.

        Raises:
            StoreUnavailable: None of them answers, or they are no cluster.
        """
        seeds = tuple(Server(*each) for each in self._group.hosts)
        options: dict[str, Any] = dict(self._group.options)
        if self._group.server.password:
            options["password"] = self._group.server.password
        if self._group.server.username:
            options["username"] = self._group.server.username
        cluster = RedisCluster(
            startup_nodes=[ClusterNode(*each) for each in dict.fromkeys((*self._known, *seeds))],
            require_full_coverage=False,
            socket_timeout=_ASK_S,
            socket_connect_timeout=_ASK_S,
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        found = cluster.nodes_manager
        asked = list(found.startup_nodes.values())
        try:
            # Not the cluster client's own `initialize`, which reads the table of commands as well.
            await found.initialize()
        except (redis.RedisError, redis.exceptions.RedisClusterException, IndexError) as error:
            raise StoreUnavailable(_first_line(error)) from error
        finally:
            await found.aclose()
            for node in asked:
                await node.disconnect()
        owners: list[Server | None] = [None] * SLOTS
        for slot, nodes in found.slots_cache.items():
            owners[slot] = Server(nodes[0].host, int(nodes[0].port))
        self._known = tuple(Server(it.host, int(it.port)) for it in found.nodes_cache.values())
        return owners


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or "it has no slots"
