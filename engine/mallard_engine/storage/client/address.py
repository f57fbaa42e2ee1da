"""Parses a `redis://` URL: where the server is, and the commands that open a connection."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from redis.asyncio.connection import SSLConnection, parse_url

P = TypeVar("P", bound=asyncio.Protocol)

_DEFAULT_PORT = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL: `redis://`, `rediss://` (TLS, with redis-py's `ssl_…` parameters), `unix://`."""

    host: str
    port: int
    path: str
    db: int
    username: str
    password: str = field(repr=False)
    tls: ssl.SSLContext | None

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. Raises `ValueError` for another scheme or a wrong parameter."""
        scheme, _, rest = url.partition("://")
        if "+" in scheme or ("," in rest and scheme != "unix"):
            raise ValueError(
                "Sentinel, Redis Cluster and lists of hosts are not supported yet: name one Redis "
                "with redis://, rediss:// or unix://"
            )
        parts: dict[str, Any] = dict(parse_url(url))
        tls = None
        if parts.get("connection_class") is SSLConnection:
            options = {name: value for name, value in parts.items() if name.startswith("ssl_")}
            tls = SSLConnection(**options).ssl_context.get()
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
        return self.path or f"{self.host}:{self.port}"

    async def open(self, protocol: Callable[[], P]) -> P:
        """Connect and return the protocol. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        if self.path:
            _, connected = await loop.create_unix_connection(protocol, self.path)
        else:
            _, connected = await loop.create_connection(
                protocol, self.host, self.port, ssl=self.tls
            )
        return connected

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
