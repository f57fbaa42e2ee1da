"""Connections that stay open between deliveries, by the origin that they go to.

A delivery looks at connections of its own origin only, so that a hundred endpoints cost each other
nothing.
"""

import ssl
from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from time import monotonic
from typing import Final, NamedTuple

import httpcore2

from mallard_engine.core.webhooks.destinations import Destination
from mallard_engine.gateway.webhooks.exchange import exchange
from mallard_engine.gateway.webhooks.network import CheckedNetwork

_KEPT_OPEN_S: Final = 20.0
_MOST_KEPT_OPEN: Final = 256
_SWEEP_S: Final = 5.0


class _Idle(NamedTuple):
    stream: httpcore2.AsyncNetworkStream
    until_s: float

    @property
    def is_good(self) -> bool:
        """Whether it may be used: what is readable now can only be the other side's end."""
        return monotonic() < self.until_s and not self.stream.get_extra_info("is_readable")


class Connections:
    """The open connections of a node.

    Args:
        networks: what opens them, by scheme.
        tls: certificates to trust; None: the system's.
    """

    def __init__(self, networks: Mapping[str, CheckedNetwork], tls: ssl.SSLContext | None) -> None:
        self._networks = networks
        self._given_tls = tls
        # Those that wait for a request, the one that was used last at the end.
        self._idle: defaultdict[Destination, list[_Idle]] = defaultdict(list)
        self._kept = 0
        self._swept_s = monotonic()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = self._given_tls or httpcore2.default_ssl_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def ask(self, to: Destination, request: bytes) -> int:
        """Send a request and return the status of its answer.

        Raises:
            NameNotFound: the host has no address.
            AddressRefused: deliveries may go to none of its addresses.
            httpcore2.NetworkError: there is no connection, or it broke.
            httpcore2.RemoteProtocolError: the answer is no HTTP.
        """
        await self._sweep()
        stream = await self._take(to) or await self._open(to)
        may_stay = False
        try:
            status, may_stay = await exchange(stream, request)
        finally:
            if may_stay and self._kept < _MOST_KEPT_OPEN:
                self._idle[to].append(_Idle(stream, monotonic() + _KEPT_OPEN_S))
                self._kept += 1
            else:
                await stream.aclose()
        return status

    async def aclose(self) -> None:
        """Close those that wait."""
        for waiting in self._idle.values():
            for each in waiting:
                await each.stream.aclose()
        self._idle.clear()
        self._kept = 0

    async def _take(self, to: Destination) -> httpcore2.AsyncNetworkStream | None:
        # Looked up again after each close, during which another request may have swept the list.
        while waiting := self._idle.get(to):
            each = waiting.pop()
            self._kept -= 1
            if each.is_good:
                return each.stream
            await each.stream.aclose()
        return None

    async def _open(self, to: Destination) -> httpcore2.AsyncNetworkStream:
        stream = await self._networks[to.scheme].connect_tcp(to.host, to.port)
        if to.scheme == "https":
            stream = await stream.start_tls(self._tls, to.host)
        return stream

    async def _sweep(self) -> None:
        """Close what has waited too long for its next request, now and then."""
        now_s = monotonic()
        if now_s - self._swept_s < _SWEEP_S:
            return
        self._swept_s = now_s
        old: list[_Idle] = []
        for to, waiting in list(self._idle.items()):
            good = [each for each in waiting if each.is_good]
            old += [each for each in waiting if each not in good]
            if good:
                self._idle[to] = good
            else:
                del self._idle[to]
        self._kept = sum(map(len, self._idle.values()))
        for each in old:
            await each.stream.aclose()
