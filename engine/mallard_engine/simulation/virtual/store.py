"""The real storage and its scripts on a simulation's clock and connection."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import DueEntry, Look
from mallard_engine.simulation.virtual.client import TurnLink
from mallard_engine.storage.calls.changes import RedisChanges
from mallard_engine.storage.calls.control.alerts import RedisAlerts, RedisDeadLetters
from mallard_engine.storage.calls.control.audit_log import RedisAuditLog
from mallard_engine.storage.calls.control.nodes import RedisNodes
from mallard_engine.storage.calls.control.pauses import RedisControls
from mallard_engine.storage.calls.control.policies import RedisPolicies
from mallard_engine.storage.calls.control.revocations import RedisRevocations
from mallard_engine.storage.calls.control.sign_in_codes import RedisSignInCodes
from mallard_engine.storage.calls.deadlines import RedisDeadlines
from mallard_engine.storage.calls.drivers import RedisDrivers
from mallard_engine.storage.calls.events.event_log import RedisEventLog
from mallard_engine.storage.calls.events.pushes import RedisPushes
from mallard_engine.storage.calls.events.webhooks import RedisWebhooks
from mallard_engine.storage.calls.jobs import RedisJobs
from mallard_engine.storage.calls.leases import RedisLeases
from mallard_engine.storage.calls.offered_runs import OfferedRuns
from mallard_engine.storage.calls.offers import RedisOffers
from mallard_engine.storage.calls.proofs import RedisProofs
from mallard_engine.storage.calls.register import RedisRegister
from mallard_engine.storage.calls.returns import RedisReturns
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_engine.storage.calls.shops import RedisShops
from mallard_engine.storage.calls.transfers import RedisTransfers
from mallard_engine.storage.scripts import load_commands

_EVENTS_A_READ = 5_000
# The only node of a simulation cannot die, and it beats rarely (`run_day.py`).
_LEASE_MS = 3_600_000


class SimulationStorage:
    """A `Storage` in virtual time; ``now_ms`` is the clock."""

    def __init__(
        self, url: str, policies: Mapping[str, MarketPolicy], now_ms: Callable[[], int]
    ) -> None:
        self._turns = TurnLink(url, handshake=load_commands())
        self._runner = runner = ScriptRunner(self._turns, policies, now_ms=now_ms)
        runs = OfferedRuns()
        self.drivers = RedisDrivers(runner)
        self.drivers.use(policies)
        self.register = RedisRegister(runner)
        self.jobs = RedisJobs(runner)
        self.changes = RedisChanges(runner)
        self.shops = RedisShops(runner)
        self.offers = RedisOffers(runner, runs)
        self.proofs = RedisProofs(runner)
        self.returns = RedisReturns(runner)
        self.deadlines = _Deadlines(runner, self._turns)
        self.transfers = RedisTransfers(runner)
        self.leases = RedisLeases(runner, _LEASE_MS)
        self.controls = RedisControls(runner)
        self.alerts = RedisAlerts(runner)
        self.audit_log = RedisAuditLog(runner)
        self.policies = RedisPolicies(runner)
        self.dead_letters = RedisDeadLetters(runner)
        self.revocations = RedisRevocations(runner)
        self.sign_in_codes = RedisSignInCodes(runner.link.call)
        self.nodes = RedisNodes(runner)
        self.pushes = RedisPushes(runner, self._turns, runs)
        self.event_log = RedisEventLog(runner, self._turns)
        self.webhooks = RedisWebhooks(runner)

    def down_since(self, market: str) -> None:  # noqa: ARG002 - as the port
        return None

    def outage_of(self, market: str) -> None:  # noqa: ARG002 - as the port
        return None

    @property
    def outage(self) -> None:
        return None

    @property
    def warnings(self) -> Sequence[str]:
        return ()

    def now_ms(self) -> int:
        return self._runner.now_ms()

    @property
    def calls(self) -> int:
        """How many commands were sent."""
        return self._turns.calls

    async def connect(self) -> None:
        """Open the connection and empty the database.

        Raises:
            StoreUnavailable: the server cannot be reached.
        """
        await self._turns.connect()
        await self._turns.call("FLUSHALL")
        self._turns.watch(
            *(
                ("ZRANGE", keys.key("due"), 0, 0, "WITHSCORES")
                for keys in self._runner.keys.values()
            )
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._turns.close()

    async def remember(self, market: str, driver: str, history: str) -> None:
        """Give a driver who has said hello, and is not yet available, a history of former days."""
        key = self._runner.keys[market].key("drivers")
        record = msgspec.msgpack.decode(await self._turns.call("HGET", key, driver))
        record["history"] = history
        await self._turns.call("HSET", key, driver, msgspec.msgpack.encode(record))

    async def events(self, market: str) -> list[dict[str, Any]]:
        """The market's whole event stream, in order."""
        key = self._runner.keys[market].key("events")
        events: list[dict[str, Any]] = []
        cursor = "-"
        while True:
            entries = await self._turns.call("XRANGE", key, cursor, "+", "COUNT", _EVENTS_A_READ)
            for _, (_, packed) in entries:
                events.append(msgspec.msgpack.decode(packed))
            if len(entries) < _EVENTS_A_READ:
                return events
            cursor = "(" + entries[-1][0].decode()


class _Deadlines(RedisDeadlines):
    """Skips sweeps that would find nothing: every reply has the time of the next due entry."""

    def __init__(self, runner: ScriptRunner, turns: TurnLink) -> None:
        super().__init__(runner)
        self._turns = turns

    async def look(
        self, markets: Sequence[str], at: Sequence[Look]
    ) -> Mapping[Look, Sequence[str]]:
        # Every sweep of the few markets of a simulation is cheap, and its order is kept.
        return dict.fromkeys(at, markets)

    async def due(self, market: str, limit: int) -> Sequence[DueEntry]:
        heads = self._turns.seen()
        if heads is not None:
            head = heads[list(self._runner.keys).index(market)]
            if not head or float(head[1]) > self._runner.now_ms():
                await self._turns.answer(None)
                return ()
        return await super().due(market, limit)
