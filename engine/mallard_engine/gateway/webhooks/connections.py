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
from mallard_engine.gateway.webhooks.exchange import BadAnswer, Wire
from mallard_engine.gateway.webhooks.network import CheckedNetwork

_KEPT_OPEN_S: Final = 20.0
_MOST_KEPT_OPEN: Final = 256
_SWEEP_S: Final = 5.0


class _Idle(NamedTuple):
    wire: Wire
    until_s: float

    @property
    def is_good(self) -> bool:
        """Whether it may be used."""
        return self.wire.is_open and monotonic() < self.until_s


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
            OSError: there is no connection, or it broke.
            BadAnswer: the answer is no HTTP.
        """
        self._sweep()
        if (wire := self._take(to)) is not None:
            try:
                return await self._ask(to, wire, request)
            except (OSError, BadAnswer):
                # The other side may have closed it while it waited, which shows only now.
                if wire.was_answered:
                    raise
        return await self._ask(to, await self._open(to), request)

    async def _ask(self, to: Destination, wire: Wire, request: bytes) -> int:
        status = await wire.ask(request)
        if wire.is_open:
            if self._kept < _MOST_KEPT_OPEN:
                self._idle[to].append(_Idle(wire, monotonic() + _KEPT_OPEN_S))
                self._kept += 1
            else:
                wire.close()
        return status

    def close(self) -> None:
        """Close those that wait."""
        for waiting in self._idle.values():
            for each in waiting:
                each.wire.close()
        self._idle.clear()
        self._kept = 0

    def _take(self, to: Destination) -> Wire | None:
        waiting = self._idle.get(to)
        while waiting:
            each = waiting.pop()
            self._kept -= 1
            if each.is_good:
                return each.wire
            each.wire.close()
        return None

    async def _open(self, to: Destination) -> Wire:
        tls = self._tls if to.scheme == "https" else None
        return await self._networks[to.scheme].connect(to.host, to.port, tls)

    def _sweep(self) -> None:
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
            each.wire.close()
