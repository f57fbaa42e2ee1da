"""Finds the master of a service by asking the Sentinels for each new connection."""

from collections.abc import Callable
from typing import Any, Final, Self

import redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff

from mallard_engine.ports import StoreUnavailable
from mallard_engine.storage.client.address import Address, Group, P

_SENTINEL_PORT: Final = 26379
# A Sentinel that does not answer in this time is skipped.
_ASK_S: Final = 0.4
_OWN_OPTIONS: Final = frozenset({"username", "password"})


class SentinelWay:
    """The way to the master of a service, `redis+sentinel://HOST:PORT,…/SERVICE[?db=N]`.

    User, password, database and TLS are those of the Redis servers. `sentinel_username` and
    `sentinel_password` are for the Sentinels; `rediss+sentinel://` is TLS with both.

    A Sentinel that was cut off may name a former master. Such a server says that it is a replica,
    or takes no writes if `min-replicas-to-write` is set.
    """

    moves: Final = True

    def __init__(self, group: Group) -> None:
        self._service = group.path
        self._server = group.server
        self._group = group
        # Those that answer come first, as `discover_master` moves them.
        self._hosts = list(group.hosts)
        self.master: Address | None = None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. Raises `ValueError`."""
        group = Group.parse(url, port=_SENTINEL_PORT, prefix="sentinel_")
        if not group.path or "/" in group.path:
            raise ValueError("name one service: redis+sentinel://HOST:PORT,…/SERVICE")
        if unknown := group.extra.keys() - _OWN_OPTIONS:
            raise ValueError(f"there is no parameter sentinel_{min(unknown)}")
        return cls(group)

    def __str__(self) -> str:
        """Return the address without secrets, for messages and logs."""
        return f"{self.master or 'unknown'} ({self._service} of the Sentinels {self._group})"

    async def open(self, protocol: Callable[[], P]) -> P:
        """Connect to the master. Raises `OSError` or `StoreUnavailable`."""
        host, port = await self._ask()
        self.master = self._server.at(host, port)
        return await self.master.open(protocol)

    def introduction(self, name: str) -> list[tuple[str | int, ...]]:
        """Return the commands that open a connection."""
        return self._server.introduction(name)

    async def _ask(self) -> tuple[str, int]:
        options: dict[str, Any] = {
            **self._group.options,
            **self._group.extra,
            "socket_timeout": _ASK_S,
            "socket_connect_timeout": _ASK_S,
            "retry": Retry(NoBackoff(), 0),
        }
        new: Callable[..., Sentinel] = Sentinel
        sentinels = new(self._hosts, sentinel_kwargs=options)
        try:
            host, port = await sentinels.discover_master(self._service)
        except MasterNotFoundError:
            raise StoreUnavailable(
                f"no Sentinel of {self._group} knows a live master named {self._service}"
            ) from None
        except redis.RedisError as error:
            raise StoreUnavailable(f"the Sentinels {self._group}: {error}") from error
        finally:
            await sentinels.aclose()
        first = sentinels.sentinels[0].connection_pool.connection_kwargs
        answered = (first["host"], first["port"])
        self._hosts.sort(key=lambda each: each != answered)
        return str(host), int(port)
