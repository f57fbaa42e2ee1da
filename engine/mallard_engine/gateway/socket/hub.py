"""Which driver's socket is here: the way of a push to its session."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

import structlog

from mallard_engine.ports import OwnDriver, Push, TakenBack
from mallard_protocol.codes import Close
from mallard_protocol.lifecycle import DriverState

_log = structlog.get_logger(__name__)

_BATCH: Final = 64
_PAUSE_S: Final = 0.05


class Listener(Protocol):
    """A session as the hub knows it."""

    @property
    def epoch(self) -> int:
        """The store's number of this socket; 0 before it is registered."""

    @property
    def shown(self) -> DriverState:
        """The driver's state, as far as its session has heard."""

    def hold(self) -> OwnDriver | None:
        """Hold pushes back until `restore`; what the session knows of its driver, None before the
        store has registered it."""

    @property
    def owes_hello(self) -> bool:
        """Whether the app has yet to be asked for a hello, since the store lost writes."""

    async def ask_hello(self) -> None:
        """Ask for it, if that is still owed; it stays owed while the store is away."""

    async def restore(self, taken: TakenBack, *, rewound: bool) -> None:
        """The store has answered to what `hold` told. Raises `StoreUnavailable`."""

    def push(self, push: Push, *, relayed: bool) -> None:
        """Hear of a push. `relayed`: from the market's stream, so nothing before it is missing."""

    def drain(self, reconnect_after_ms: int) -> None:
        """Tell the app that the node goes down."""

    def end(self, code: Close) -> None:
        """Close the socket."""


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
        """The markets whose drivers this node holds."""
        return tuple(self._markets)

    def add(self, market: str, driver: str, session: Listener) -> None:
        """From now on the session hears what is pushed to the driver."""
        drivers = self._markets.setdefault(market, {})
        drivers[driver] = (*drivers.get(driver, ()), session)

    def remove(self, market: str, driver: str, session: Listener) -> None:
        """The session hears no more; nothing if it did not."""
        drivers = self._markets.get(market, {})
        left = tuple(other for other in drivers.get(driver, ()) if other is not session)
        if left:
            drivers[driver] = left
        else:
            drivers.pop(driver, None)
        if not drivers:
            self._markets.pop(market, None)

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        """Hand over pushes of this node's own transitions."""
        self._hand_over(market, pushes, relayed=False)

    def relay(self, market: str, push: Push) -> None:
        """Hand over a push from the market's stream."""
        self._hand_over(market, (push,), relayed=True)

    def sessions(self, market: str | None = None) -> tuple[Listener, ...]:
        """The sessions of a market, or all."""
        return tuple(self._all() if market is None else _of(self._markets.get(market, {})))

    def has(self, market: str, driver: str, epoch: int) -> bool:
        """Whether a session of the driver is registered under this epoch."""
        sessions = self._markets.get(market, {}).get(driver, ())
        return any(session.epoch == epoch for session in sessions)

    def sessions_by_driver(self, market: str) -> tuple[tuple[Listener, ...], ...]:
        """The sessions of each driver of a market, the newest last."""
        return tuple(self._markets.get(market, {}).values())

    async def end_all(
        self, code: Close, market: str | None = None, draw: Callable[[], float] = random.random
    ) -> None:
        """Close the sockets of a market, or all, a batch at a time, in random order."""
        sessions = list(self.sessions(market))
        sessions.sort(key=lambda _: draw())
        for start in range(0, len(sessions), _BATCH):
            for session in sessions[start : start + _BATCH]:
                session.end(code)
            # Thousands who come back in one instant would be a stampede of our own making.
            await asyncio.sleep(_PAUSE_S * (0.5 + draw()))

    def _hand_over(self, market: str, pushes: Iterable[Push], *, relayed: bool) -> None:
        drivers = self._markets.get(market)
        if drivers is None:
            return
        for push in pushes:
            for session in drivers.get(push.driver, ()):
                try:
                    session.push(push, relayed=relayed)
                except Exception:  # noqa: BLE001 - one push must not stop those of the others
                    _log.exception("push failed", market=market, kind=push.kind)
                    session.end(Close.DRAINING)

    def _all(self) -> Iterator[Listener]:
        for drivers in self._markets.values():
            yield from _of(drivers)


def _of(drivers: dict[str, tuple[Listener, ...]]) -> Iterator[Listener]:
    for sessions in drivers.values():
        yield from sessions
