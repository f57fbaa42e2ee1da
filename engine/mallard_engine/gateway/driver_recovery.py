"""Restores a node's drivers after an outage of Redis or after they were removed from matching.

Their sockets stay open. A driver whose state may have changed gets a new `welcome`; a socket whose
driver has registered elsewhere since is closed.

After lost writes every app is asked for a hello, since a driver may hold a parcel that neither
Redis nor the node knows. Apps with a job or an offer, or with a changed state, are asked at
once. The others are asked later and in batches, so that waiting jobs are offered first.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Final

import structlog

from mallard_engine.dispatch.context import Tasks
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.gateway.socket.hub import Hub, Listener
from mallard_engine.gateway.socket.push_relay import Relay
from mallard_engine.ports import OwnDriver, StoreUnavailable
from mallard_protocol.codes import Close

_log = structlog.get_logger(__name__)

# Drivers per script call, which takes some milliseconds of Redis's time.
_BATCH: Final = 256
# Each hello costs two `welcome` and two reads of Redis, so at most 400 are asked per second.
_ASK_AFTER_S: Final = 1.0
_ASK_BATCH: Final = 20
_ASK_PAUSE_S: Final = 0.05


class Recovery:
    """Implements `Dispatcher.recover` for the sessions of a node."""

    def __init__(self, hub: Hub, relay: Relay, dispatcher: Dispatcher, tasks: Tasks) -> None:
        self._hub = hub
        self._relay = relay
        self._dispatcher = dispatcher
        self._tasks = tasks
        self._asking: set[str] = set()

    async def recover(self, market: str, rewound: bool) -> None:  # noqa: FBT001 - a callback
        """Restore the market's drivers in batches.

        After a failure the sessions keep holding pushes back, and the next attempt continues.

        Args:
            market: the market.
            rewound: Redis has lost writes.

        Raises:
            StoreUnavailable: some drivers could not be restored.
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
            self._start_asking(market)
        if not all(outcomes):
            raise StoreUnavailable("some drivers could not be restored")
        if held:
            _log.info(
                "drivers restored",
                market=market,
                drivers=len(held),
                rewound=rewound,
                seconds=round(time.perf_counter() - started_s, 3),
            )

    def _start_asking(self, market: str) -> None:
        if market not in self._asking:
            self._asking.add(market)
            self._tasks.start(self._ask(market), f"ask for hellos {market}")

    async def _ask(self, market: str) -> None:
        """Ask for hellos until none is due."""
        try:
            while owing := [each for each in self._hub.sessions(market) if each.owes_hello]:
                await asyncio.sleep(_ASK_AFTER_S)  # Redis may have become unavailable again
                for start in range(0, len(owing), _ASK_BATCH):
                    batch = owing[start : start + _ASK_BATCH]
                    await asyncio.gather(*(_guarded(each, each.ask_hello()) for each in batch))
                    if any(each.owes_hello for each in batch):
                        break
                    await asyncio.sleep(_ASK_PAUSE_S)
        finally:
            self._asking.discard(market)

    def _hold(self, market: str) -> list[tuple[Listener, OwnDriver]]:
        held: list[tuple[Listener, OwnDriver]] = []
        for sessions in self._hub.sessions_by_driver(market):
            known = [(each, own) for each in sessions if (own := each.hold()) is not None]
            # After lost writes two sockets of a driver may have the same epoch.
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
        taken = await self._dispatcher.drivers.take_back(market, drivers, rewound=rewound)
        return [
            asyncio.create_task(
                _guarded(session, session.restore(outcome, rewound=rewound)), name="restore"
            )
            for (session, _), outcome in zip(held, taken, strict=True)
        ]


async def _guarded(session: Listener, work: Awaitable[None]) -> bool:
    """Await a part of a session's recovery; return False if Redis became unavailable."""
    try:
        await work
    except StoreUnavailable:
        return False
    except Exception:  # noqa: BLE001 - a failing session must not stop the others
        _log.exception("session not restored", epoch=session.epoch)
        session.end(Close.DRAINING)
    return True
