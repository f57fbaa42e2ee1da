"""The ports of the storage on Redis (or Valkey), one Lua script for each transition."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from mallard_engine.core.policy import MarketPolicy
from mallard_engine.ports import NO_QUOTAS, Look, Quotas, StoreUnavailable
from mallard_engine.storage import schema
from mallard_engine.storage.archive_queue import ArchiveLag, ArchiveQueue
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
from mallard_engine.storage.client.client import Link
from mallard_engine.storage.client.cluster import ClusterLink
from mallard_engine.storage.client.errors import LinkReplyError
from mallard_engine.storage.client.links import Store, StoreLink
from mallard_engine.storage.durability import Barriers
from mallard_engine.storage.fitness import inspect
from mallard_engine.storage.policy_agreement import disagreements, fingerprint
from mallard_engine.storage.scripts import load_commands

_log = structlog.get_logger(__name__)
# How long a connection may be silent that waits for replicas.
_BARRIER_S = 2.0


class RedisStorage:
    """A `Storage`: composes the ports, which share one script runner.

    Args:
        url: The Redis server or servers; see `storage/client/links.py`.
        policies: The policy of every market, by its id.
        now_ms: A simulation's clock; None: the clock of the Redis server.
        observe: Called with the name and the seconds of each call.
        on_refusal: Called with the error code of each refusal that the server's condition causes.
        on_alert: Called with the kind of each alert, also of one whose call was refused.
        embedded: This process started the server and syncs its log.
        node: This node's name: other nodes compare its policies with theirs, and its drivers get
            the pushes of its own transitions directly. Empty: neither.
        quotas: The limits of each service in each market.
        on_quota: Called with the name of a quota that refuses a job.
    """

    def __init__(
        self,
        url: str,
        policies: Mapping[str, MarketPolicy],
        *,
        now_ms: Callable[[], int] | None = None,
        observe: Callable[[str, float], None] | None = None,
        on_refusal: Callable[[str], None] | None = None,
        on_alert: Callable[[str], None] | None = None,
        embedded: bool = False,
        node: str = "",
        quotas: Quotas = NO_QUOTAS,
        on_quota: Callable[[str], None] | None = None,
    ) -> None:
        # Called when a connection is open, after each outage again.
        self.on_up: Callable[[], None] | None = None
        # Why the owner of the server regards it as unusable, such as a deleted data folder.
        self.fault: str | None = None
        store = Store(url)
        self.runner = ScriptRunner(
            store.link(handshake=load_commands(), on_up=self._opened),
            policies,
            now_ms=now_ms,
            observe=observe,
            on_refusal=on_refusal,
            on_alert=on_alert,
            node=node,
        )
        self.runner.barriers = Barriers(
            store.link(name="mallard-barrier", silence_s=_BARRIER_S, deadline_s=_BARRIER_S)
        )
        self.tail = store.tail(name="mallard-tail")
        self.event_tail = store.tail(name="mallard-events")
        runs = OfferedRuns()
        self.drivers = RedisDrivers(self.runner)
        self.register = RedisRegister(self.runner)
        self.jobs = RedisJobs(self.runner, quotas, on_quota)
        self.changes = RedisChanges(self.runner)
        self.shops = RedisShops(self.runner)
        self.offers = RedisOffers(self.runner, runs)
        self.proofs = RedisProofs(self.runner)
        self.returns = RedisReturns(self.runner)
        self.deadlines = RedisDeadlines(self.runner)
        self.transfers = RedisTransfers(self.runner)
        self.leases = RedisLeases(self.runner)
        self.controls = RedisControls(self.runner)
        self.alerts = RedisAlerts(self.runner)
        self.audit_log = RedisAuditLog(self.runner)
        self.policies = RedisPolicies(self.runner)
        self.dead_letters = RedisDeadLetters(self.runner)
        self.revocations = RedisRevocations(self.runner)
        self.sign_in_codes = RedisSignInCodes(self.runner.link.call)
        self.nodes = RedisNodes(self.runner)
        self.pushes = RedisPushes(self.runner, self.tail, runs)
        self.event_log = RedisEventLog(self.runner, self.event_tail)
        self.webhooks = RedisWebhooks(self.runner)
        self._embedded = embedded
        self._node = node
        self._warnings: Sequence[str] = ()
        # By market, as of the last `inspect`; markets without an archive are missing.
        self.archive_lags: Mapping[str, ArchiveLag] = {}
        self.use(policies)

    def use(self, policies: Mapping[str, MarketPolicy]) -> None:
        """Apply these policies from the next call on. The next `inspect` publishes them.

        The set of markets never changes.
        """
        self.runner.use(policies)
        self.drivers.use(policies)
        self._prints = {market: fingerprint(policy) for market, policy in policies.items()}

    def use_versions(self, versions: Mapping[str, int]) -> None:
        """Name these versions of the policies in the records of rounds."""
        self.runner.policy_versions = dict(versions)

    def down_since(self, market: str) -> float | None:
        link = self._link_of(market)
        return link.down_since if link is not None else None

    def outage_of(self, market: str) -> str | None:
        link = self._link_of(market)
        if link is None:
            return "the store has no server for this market"
        if link.is_away:
            return f"the store at {link.address} cannot be reached: {link.why_down}"
        if problem := self.fault or self.runner.health.problems.get(link):
            return problem
        tail = self.tail.link_of(self.runner.keys[market].block[0])
        if tail is not None and tail.is_away:
            return f"the store's pushes cannot be read: {tail.why_down}"
        return None

    @property
    def outage(self) -> str | None:
        first = None
        for market in self.runner.keys:
            first = self.outage_of(market)
            if first is None:
                return None
        return first

    @property
    def warnings(self) -> Sequence[str]:
        affected: dict[str, list[str]] = {}
        for market in self.runner.keys:
            if (why := self.outage_of(market)) is not None:
                affected.setdefault(why, []).append(market)
        outages = [f"no work in {', '.join(them)}: {why}" for why, them in affected.items()]
        return (*outages, *self._warnings)

    def _link_of(self, market: str) -> Link | None:
        return self.runner.link.link_of(self.runner.keys[market].block[0])

    def now_ms(self) -> int:
        return self.runner.now_ms()

    async def connect(self) -> None:
        """Open the connections and record this engine's schema version.

        Raises:
            StoreUnavailable: the server cannot be reached or used.
        """
        await asyncio.gather(*(link.connect() for link in self._links))
        # A full or read-only server can still be read, and drivers with work may finish it: the
        # schema version is recorded at a later start.
        with contextlib.suppress(LinkReplyError):
            is_cluster = isinstance(self.runner.link, ClusterLink)
            copies = [keys.key("lineage") for keys in self.runner.keys.values()]
            await schema.mark(self.runner.link, copies if is_cluster else ())
        self.runner.set_clock(await self._server_ms())
        await self.inspect()

    async def inspect(self, archived: Collection[str] | None = None) -> None:
        """Check the server's configuration and log new findings.

        ``archived``: the markets whose archives are looked at; None: all.

        Raises:
            StoreUnavailable: the server cannot be reached.
        """
        demands = self.runner.demands
        # Together, as an idle Redis wakes for each write.
        found, disputes = await asyncio.gather(
            inspect(self.runner.link, embedded=self._embedded, demands=demands),
            self._disagreements(),
        )
        texts = [*(finding.text for finding in found), *disputes]
        markets = self.runner.keys if archived is None else archived
        texts += await self._inspect_archives(sorted(markets))
        before, self._warnings = self._warnings, tuple(texts)
        for text in self._warnings:
            if text not in before:
                _log.warning("the store's configuration should be changed", why=text)

    async def _disagreements(self) -> list[str]:
        if self._node:
            # A refused write, and a cluster's server that is away, show in `warnings`.
            with contextlib.suppress(LinkReplyError, StoreUnavailable):
                call, now_ms = self.runner.link.call, self.now_ms()
                return await disagreements(call, self._node, self._prints, now_ms)
        return []

    async def _inspect_archives(self, markets: Sequence[str]) -> list[str]:
        """Read how far the archives are behind; return what is to be said about it."""
        archive, now_ms = ArchiveQueue(self.runner), self.now_ms()
        looked = await self.deadlines.look(markets, (Look.ARCHIVE,)) if markets else {}
        found = {market: await archive.lag(market) for market in looked.get(Look.ARCHIVE, ())}
        self.archive_lags = {market: lag for market, lag in found.items() if lag is not None}
        for market, lag in self.archive_lags.items():
            if self._node and lag.is_near(now_ms):
                await archive.alert(market, lag)
        said = (lag.text(market, now_ms) for market, lag in self.archive_lags.items())
        return [text for text in said if text is not None]

    async def close(self) -> None:
        """Close the connections."""
        if self.runner.barriers is not None:
            await self.runner.barriers.close()
        await self.pushes.reader.close()
        await self.event_log.reader.close()
        await asyncio.gather(*(link.close() for link in self._links))

    @property
    def _links(self) -> tuple[StoreLink, ...]:
        return self.runner.link, self.tail, self.event_tail

    def _opened(self) -> None:
        if self.on_up is not None:
            self.on_up()

    async def _server_ms(self) -> int:
        seconds, micros = await self.runner.link.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000
