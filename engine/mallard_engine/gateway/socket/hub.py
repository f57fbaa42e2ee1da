"""The sessions of this node, by driver, and the delivery of pushes to them."""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import structlog

from mallard_engine.ports import OwnDriver, Push, TakenBack
from mallard_protocol.codes import Close
from mallard_protocol.lifecycle import DriverState

_log = structlog.get_logger(__name__)

_BATCH: Final = 64
_PAUSE_S: Final = 0.05


class Listener(Protocol):
    """A session as the hub uses it."""

    @property
    def epoch(self) -> int:
        """The epoch under which Redis registered this socket; 0 before that."""

    @property
    def shown(self) -> DriverState:
        """The driver's state as the session last received it."""

    def hold(self) -> OwnDriver | None:
        """Hold pushes back until `restore`.

        Returns:
            The driver as the session knows it; None before Redis has registered it.
        """

    @property
    def owes_hello(self) -> bool:
        """Whether the app must be asked for a hello, because Redis lost writes."""

    async def ask_hello(self) -> None:
        """Ask the app for a hello if that is due; it stays due while Redis is unavailable."""

    async def restore(self, taken: TakenBack, *, rewound: bool) -> None:
        """Continue after `hold` with Redis's verdict. Raises `StoreUnavailable`."""

    def push(self, push: Push) -> None:
        """Receive a push."""

    def drain(self, reconnect_after_ms: int) -> None:
        """Tell the app that the node shuts down and when to reconnect."""

    def end(self, code: Close) -> None:
        """Close the socket."""

    def end_if_revoked(self) -> None:
        """Close the socket if its token has been revoked."""


class Hub:
    """The sessions of this node by (market, driver); a `PushSink` for the pushes of this node.

    A driver has one session, and for a moment two, when a newer socket has not yet said the hello
    that replaces the older.
    """

    def __init__(self) -> None:
        self._markets: dict[str, dict[str, tuple[Listener, ...]]] = {}

    def __len__(self) -> int:
        return sum(1 for _ in self._all())

    @property
    def markets(self) -> tuple[str, ...]:
        """The markets that have sessions on this node."""
        return tuple(self._markets)

    def drivers(self) -> dict[str, int]:
        """Return how many drivers have sessions, by market."""
        return {market: len(drivers) for market, drivers in self._markets.items()}

    def add(self, market: str, driver: str, session: Listener) -> None:
        """Deliver the driver's pushes to the session from now on."""
        drivers = self._markets.setdefault(market, {})
        drivers[driver] = (*drivers.get(driver, ()), session)

    def remove(self, market: str, driver: str, session: Listener) -> None:
        """Stop delivering pushes to the session. Unknown sessions are ignored."""
        drivers = self._markets.get(market, {})
        left = tuple(other for other in drivers.get(driver, ()) if other is not session)
        if left:
            drivers[driver] = left
        else:
            drivers.pop(driver, None)
        if not drivers:
            self._markets.pop(market, None)

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        """Deliver pushes to the drivers' sessions; those of drivers without one are ignored."""
        drivers = self._markets.get(market)
        if drivers is None:
            return
        for push in pushes:
            for session in drivers.get(push.driver, ()):
                try:
                    session.push(push)
                except Exception:  # noqa: BLE001 - a failing push must not stop the others
                    _log.exception("push failed", market=market, kind=push.kind)
                    session.end(Close.DRAINING)

    def sessions(self, market: str | None = None) -> tuple[Listener, ...]:
        """Return the sessions of a market, or all."""
        return tuple(self._all() if market is None else _of(self._markets.get(market, {})))

    def has(self, market: str, driver: str, epoch: int) -> bool:
        """Whether a session of the driver is registered under this epoch."""
        sessions = self._markets.get(market, {}).get(driver, ())
        return any(session.epoch == epoch for session in sessions)

    def sessions_by_driver(self, market: str) -> tuple[tuple[Listener, ...], ...]:
        """Return the sessions of each driver of a market, the newest last."""
        return tuple(self._markets.get(market, {}).values())

    def end_revoked(self) -> None:
        """Close the sockets whose tokens have been revoked."""
        for session in self.sessions():
            session.end_if_revoked()

    async def end_all(
        self, code: Close, market: str | None = None, draw: Callable[[], float] = random.random
    ) -> None:
        """Close the sockets of a market, or all, in random order and in batches."""
        sessions = list(self.sessions(market))
        sessions.sort(key=lambda _: draw())
        for start in range(0, len(sessions), _BATCH):
            for session in sessions[start : start + _BATCH]:
                session.end(code)
            # Thousands of simultaneous reconnections would overload the nodes.
            await asyncio.sleep(_PAUSE_S * (0.5 + draw()))

    def _all(self) -> Iterator[Listener]:
        for drivers in self._markets.values():
            yield from _of(drivers)


def _of(drivers: dict[str, tuple[Listener, ...]]) -> Iterator[Listener]:
    for sessions in drivers.values():
        yield from sessions
