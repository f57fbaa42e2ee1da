"""Parses a `redis://` URL: where the server is, and the commands that open a connection."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

P = TypeVar("P", bound=asyncio.Protocol)

_DEFAULT_PORT = 6379


class Way(Protocol):
    """How a connection reaches its server, which may be another one at the next attempt."""

    def __str__(self) -> str:
        """Return the address without secrets, for messages and logs."""
        ...

    @property
    def moves(self) -> bool:
        """Whether another server may take over, which the next attempt then finds."""
        ...

    @property
    def asks(self) -> bool:
        """Whether `failovers` is to be looked at while a connection is open."""
        ...

    async def failovers(self) -> int:
        """Return a number that changes when another server takes over."""
        ...

    @property
    def known_failovers(self) -> int:
        """What `failovers` is known to be, without asking."""
        ...

    async def open(self, protocol: Callable[[], P]) -> tuple[P, int]:
        """Connect; return the protocol and what `failovers` said before.

        Raises `OSError` or `StoreUnavailable`.
        """
        ...

    def introduction(self, name: str) -> list[tuple[str | int, ...]]:
        """Return the commands that open a connection: authentication, database, PING."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL: `redis://`, `rediss://` (TLS, with redis-py's `ssl_…` parameters), `unix://`.

    `moves`: the server is of a cluster, where another one may take its place.
    """

    host: str
    port: int
    path: str
    db: int
    username: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None
    moves: bool = False

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. Raises `ValueError` for another scheme or a wrong parameter."""
        scheme, _, rest = url.partition("://")
        if "," in rest and scheme != "unix":
            raise ValueError(
                "a list of hosts needs redis+sentinel://HOST:PORT,…/SERVICE or "
                "redis+cluster://HOST:PORT,…"
            )
        parts: dict[str, Any] = dict(parse_url(url))
        tls = None
        if parts.get("connection_class") is SSLConnection:
            tls = SSLConnection(**_tls_options(parts)).ssl_context.get()
        return cls(
            host=parts.get("host", "localhost"),
            port=parts.get("port", _DEFAULT_PORT),
            path=parts.get("path", ""),
            db=int(parts.get("db", 0)),
            username=parts.get("username", ""),
            password=parts.get("password", ""),
            tls=tls,
        )

    def __str__(self) -> str:
        """Return the address without secrets, for messages and logs."""
        return self.path or (f"[{self.host}]" if ":" in self.host else self.host) + f":{self.port}"

    def at(self, host: str, port: int) -> Self:
        """Return the address of another server with the same user, database and TLS."""
        return replace(self, host=host, port=port)

    @property
    def asks(self) -> bool:
        """False: a cluster's topology is followed elsewhere (`topology.py`)."""
        return False

    async def failovers(self) -> int:
        """Return 0."""
        return 0

    @property
    def known_failovers(self) -> int:
        """0."""
        return 0

    async def open(self, protocol: Callable[[], P]) -> tuple[P, int]:
        """Connect; return the protocol and 0. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        if self.path:
            _, connected = await loop.create_unix_connection(protocol, self.path)
        else:
            _, connected = await loop.create_connection(
                protocol, self.host, self.port, ssl=self.tls
            )
        return connected, 0

    def introduction(self, name: str) -> list[tuple[str | int, ...]]:
        """Return the commands that open a connection: authentication, database, PING."""
        commands: list[tuple[str | int, ...]] = []
        if self.password:
            login = (self.username, self.password) if self.username else (self.password,)
            commands.append(("AUTH", *login))
        if self.db:
            commands.append(("SELECT", self.db))
        commands.append(("CLIENT", "SETNAME", name))
        commands.append(("PING",))
        return commands


@dataclass(frozen=True, slots=True)
class Group:
    """A parsed URL with a list of hosts: Sentinels, or some nodes of a cluster.

    Attributes:
        hosts: The hosts and their ports.
        path: What follows the hosts, without slashes.
        server: The address of a server; host and port are those of the first of `hosts`.
        options: redis-py's options for TLS.
        extra: Query parameters with the prefix that was asked for, without it.
    """

    hosts: tuple[tuple[str, int], ...]
    path: str
    server: Address
    options: Mapping[str, Any]
    extra: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, url: str, *, port: int, prefix: str = "\0") -> Self:
        """Parse a URL of the form `redis+KIND://[USER:PASSWORD@]HOST:PORT,…[/PATH][?QUERY]`.

        Args:
            url: The URL, or one with `rediss+KIND` for TLS.
            port: The port of a host without one.
            prefix: Query parameters that begin with this are returned in `extra`.

        Raises:
            ValueError: The URL is wrong.
        """
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        login, at, rest = rest.rpartition("@")
        hosts, _, path = rest.partition("/")
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        extra = {name.removeprefix(prefix): it for name, it in given if name.startswith(prefix)}
        own = urlencode([(name, it) for name, it in given if not name.startswith(prefix)])
        found = tuple(_host(each, port) for each in hosts.split(","))
        first = hosts.partition(",")[0]
        plain = f"{scheme.partition('+')[0]}://{login}{at}{first}" + (f"?{own}" if own else "")
        options = dict(parse_url(plain))
        tls: dict[str, Any] = {}
        if options.get("connection_class") is SSLConnection:
            tls = {"ssl": True, **_tls_options(options)}
        return cls(found, path.strip("/"), Address.parse(plain), tls, extra)

    def __str__(self) -> str:
        """Return the hosts, for messages and logs."""
        return ",".join(str(self.server.at(host, port)) for host, port in self.hosts)


def _tls_options(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if name.startswith("ssl_")}


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return parts.hostname, parts.port or port
