"""Takes a node's drivers back when they may have been taken out of matching, or the store was away.

Their sockets stay open all the while. A driver for whom something may have changed gets a fresh
`welcome`; one who has said a newer hello elsewhere is closed.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from engine.dispatch.dispatcher import Dispatcher
from engine.gateway.hub import Hub, Listener
from engine.gateway.relay import Relay
from engine.ports import OwnDriver, StoreUnavailable, TakenBack
from protocol.codes import Close

_log = structlog.get_logger(__name__)

# One script call: some milliseconds of the store's time.
_BATCH: Final = 256


class Recovery:
    """Carries out `Dispatcher.recover` for the sessions of a node."""

    def __init__(self, hub: Hub, relay: Relay, dispatcher: Dispatcher) -> None:
        self._hub = hub
        self._relay = relay
        self._dispatcher = dispatcher

    async def recover(self, market: str, rewound: bool) -> None:  # noqa: FBT001 - a callback
        """Take the market's drivers back, a batch at a time.

        Sessions of a failed attempt keep holding pushes back: the next attempt goes on with them.
        Raises `StoreUnavailable`.
        """
        started_s = time.perf_counter()
        held = self._hold(market)
        if rewound:
            await self._relay.rewind(market)
        restored: list[asyncio.Task[bool]] = []
        try:
            for start in range(0, len(held), _BATCH):
                restored += await self._take_back(market, held[start : start + _BATCH], rewound)
        finally:
            outcomes = await asyncio.gather(*restored)
        if not all(outcomes):
            raise StoreUnavailable("some drivers could not be welcomed")
        if held:
            _log.info(
                "drivers taken back",
                market=market,
                drivers=len(held),
                rewound=rewound,
                seconds=round(time.perf_counter() - started_s, 3),
            )

    def _hold(self, market: str) -> list[tuple[Listener, OwnDriver]]:
        held: list[tuple[Listener, OwnDriver]] = []
        for sessions in self._hub.rivals(market):
            known = [(each, own) for each in sessions if (own := each.hold()) is not None]
            # After lost writes two sockets of a driver may have got the same epoch.
            for older, _ in known[:-1]:
                older.end(Close.REPLACED)
            held += known[-1:]
        return held

    async def _take_back(
        self,
        market: str,
        held: Sequence[tuple[Listener, OwnDriver]],
        rewound: bool,  # noqa: FBT001 - private
    ) -> list[asyncio.Task[bool]]:
        drivers = [own for _, own in held]
        taken = await self._dispatcher.take_back(market, drivers, rewound=rewound)
        return [
            asyncio.create_task(_restore(session, outcome, rewound), name="restore")
            for (session, _), outcome in zip(held, taken, strict=True)
        ]


async def _restore(
    session: Listener,
    outcome: TakenBack,
    rewound: bool,  # noqa: FBT001 - private
) -> bool:
    """False if the store went away again."""
    try:
        await session.restore(outcome, rewound=rewound)
    except StoreUnavailable:
        return False
    except Exception:  # noqa: BLE001 - one session must not keep the others from being restored
        _log.exception("restore failed", driver=outcome.driver.id)
        session.end(Close.DRAINING)
    return True
