"""Parses a `redis://` URL: where the server is, and the commands that open a connection."""

import asyncio
import inspect
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

import redis
from redis.asyncio.connection import SSLConnection, parse_url

P = TypeVar("P", bound=asyncio.Protocol)

_DEFAULT_PORT = 6379
_PARAMETERS: Final = frozenset({"db", "username", "password"})
_TLS_PARAMETERS: Final = frozenset(
    name for name in inspect.signature(SSLConnection).parameters if name.startswith("ssl_")
)
_HINT: Final = " (in a password, write / as %2F, ? as %3F and # as %23)"
_TLS_SECRETS: Final = frozenset({"ssl_password", "ssl_ca_data"})


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
        if "," in rest.partition("?")[0].rpartition("@")[2] and scheme != "unix":
            raise ValueError(
                "a list of hosts needs redis+sentinel://HOST:PORT,…/SERVICE or "
                "redis+cluster://HOST:PORT,…"
            )
        parts = _options(url)
        tls = None
        if parts.get("connection_class") is SSLConnection:
            tls = _tls_context(_tls_options(parts))
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
        given = parse_qsl(query, keep_blank_values=True)
        extra = {name.removeprefix(prefix): it for name, it in given if name.startswith(prefix)}
        own = urlencode([(name, it) for name, it in given if not name.startswith(prefix)])
        found = tuple(_host(each, port) for each in hosts.split(","))
        first = hosts.partition(",")[0]
        plain = f"{scheme.partition('+')[0]}://{login}{at}{first}" + (f"?{own}" if own else "")
        options = _options(plain)
        tls: dict[str, Any] = {}
        if options.get("connection_class") is SSLConnection:
            tls = {"ssl": True, **_tls_options(options)}
        return cls(found, path.strip("/"), Address.parse(plain), tls, extra)

    def __str__(self) -> str:
        """Return the hosts, for messages and logs."""
        return ",".join(str(self.server.at(host, port)) for host, port in self.hosts)


def _options(url: str) -> dict[str, Any]:
    """Return redis-py's options for the URL of one server.

    redis-py ignores parts that it does not know: a node would use another server or database.

    Raises:
        ValueError: A part of the URL is wrong. The message shows nothing that may be a password.
    """
    scheme, _, rest = url.partition("://")
    if "#" in rest:
        raise ValueError("write # as %23 in the URL")
    if scheme in {"redis", "rediss"}:
        _check_server(url)
    known = _PARAMETERS | (_TLS_PARAMETERS if scheme == "rediss" else frozenset())
    given = parse_qsl(rest.partition("?")[2], keep_blank_values=True)
    for name, _ in given:
        if name in _TLS_PARAMETERS - known:
            raise ValueError(f"{name} needs TLS: write rediss instead of redis")
        if name not in known:
            may_be_login = any("@" in text for pair in given for text in pair)
            raise ValueError(
                f"a parameter is unknown{_HINT}"
                if may_be_login
                else f"there is no parameter {name}"
            )
    return dict(parse_url(url))


def _check_server(url: str) -> None:
    """Check the port and the database. Raises `ValueError`."""
    parts = urlsplit(url)
    database = parts.path.strip("/")
    _port(parts)
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError(f"the database is not a number{_HINT}")


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        raise ValueError(f"a port is not a number in the range 0 to 65535{_HINT}") from None


def _tls_context(options: Mapping[str, Any]) -> ssl.SSLContext:
    """Return the context of a connection. Raises `ValueError`."""
    try:
        return SSLConnection(**options).ssl_context.get()
    except (OSError, ValueError, redis.RedisError) as error:
        given = (f"{name}={it}" for name, it in options.items() if name not in _TLS_SECRETS)
        why = (isinstance(error, OSError) and error.strerror) or error
        raise ValueError(f"TLS with {', '.join(given)}: {why}") from error


def _tls_options(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if name.startswith("ssl_")}


def _host(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return parts.hostname, _port(parts) or port
