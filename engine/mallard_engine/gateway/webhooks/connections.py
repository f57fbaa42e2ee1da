"""Connections that stay open between deliveries, by the origin that they go to.

The pool of `httpcore2` looks at all of its connections twice for each request, and builds its TLS
settings anew for each connection. Here a request looks at connections of its own origin only, so
that a hundred endpoints cost each other nothing.
"""

import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cached_property
from time import monotonic
from typing import Final

import httpcore2

from mallard_engine.gateway.webhooks.network import CheckedNetwork

_KEPT_OPEN_S: Final = 20.0
_MOST_KEPT_OPEN: Final = 256
_SWEEP_S: Final = 5.0


class Connections:
    """The open connections of a node.

    Args:
        networks: what opens them, by scheme.
        tls: certificates to trust; None: the system's.
    """

    def __init__(self, networks: Mapping[str, CheckedNetwork], tls: ssl.SSLContext | None) -> None:
        self._networks = networks
        self._given_tls = tls
        # By host and port: those that wait for a request, the one that was used last at the end.
        self._idle: defaultdict[str, list[httpcore2.AsyncHTTPConnection]] = defaultdict(list)
        self._kept = 0
        self._swept_s = monotonic()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or httpcore2.default_ssl_context()

    @asynccontextmanager
    async def answer(self, request: httpcore2.Request) -> AsyncIterator[httpcore2.Response]:
        """Send a request; a response that was read to its end leaves its connection to the next."""
        await self._sweep()
        origin = request.url.origin
        connection = await self._take(origin)
        try:
            response = await connection.handle_async_request(request)
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            await self._put_back(origin, connection)

    async def aclose(self) -> None:
        """Close those that wait."""
        for waiting in self._idle.values():
            for connection in waiting:
                await connection.aclose()
        self._idle.clear()
        self._kept = 0

    async def _take(self, origin: httpcore2.Origin) -> httpcore2.AsyncHTTPConnection:
        waiting = self._idle.get(str(origin))
        while waiting:
            connection = waiting.pop()
            self._kept -= 1
            if not connection.has_expired():
                return connection
            await connection.aclose()
        scheme = origin.scheme.decode()
        return httpcore2.AsyncHTTPConnection(
            origin,
            ssl_context=self._tls if scheme == "https" else None,
            keepalive_expiry=_KEPT_OPEN_S,
            network_backend=self._networks[scheme],
        )

    async def _put_back(
        self, origin: httpcore2.Origin, connection: httpcore2.AsyncHTTPConnection
    ) -> None:
        if connection.is_available() and self._kept < _MOST_KEPT_OPEN:
            self._idle[str(origin)].append(connection)
            self._kept += 1
        elif not connection.is_closed():
            await connection.aclose()

    async def _sweep(self) -> None:
        """Close what has waited too long for its next request, now and then."""
        now_s = monotonic()
        if now_s - self._swept_s < _SWEEP_S:
            return
        self._swept_s = now_s
        old = [
            (origin, connection)
            for origin, waiting in self._idle.items()
            for connection in waiting
            if connection.has_expired()
        ]
        for origin, connection in old:
            self._idle[origin].remove(connection)
            if not self._idle[origin]:
                del self._idle[origin]
        self._kept -= len(old)
        for _, connection in old:
            await connection.aclose()
