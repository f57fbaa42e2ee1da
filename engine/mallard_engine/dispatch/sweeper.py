"""Sweeps overdue entries and deletes expired data.

A look, which is one call for all markets of a server, says which markets have something that is
due. The nodes share the markets (`dispatch/leases.py`). The node that created a due entry also sets
a timer for it: the same sweep, only sooner. Executing an entry twice has no further effect, so two
nodes may sweep a market while its owner changes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import structlog

from mallard_engine.core.places.geofence import is_around
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks, count_round
from mallard_engine.dispatch.leases import NodeLeases
from mallard_engine.dispatch.returns import Returns
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.ports import (
    DueEntry,
    DueKind,
    Effects,
    JobRef,
    Look,
    NoSuchJob,
    StoreUnavailable,
    nowhere,
)
from mallard_engine.tasks import is_turn, turn
from mallard_protocol.codes import JobReason

_log = structlog.get_logger(__name__)

_BATCH = 256
# How many risks one sweep of a market computes.
_MOST_RISKS = 256
# Calls of 32 jobs each: 400 jobs a second, a tenth of a core.
_MOST_PACKINGS = 64
# Entries this close together share a timer. Regular sweeps, at most a quarter of a second late,
# handle what is due in more than a minute (see `RuntimeOptions`).
_GRAIN_S = 0.01


class Sweeper:
    """Sweeps for one node. ``leases`` says which markets are its share."""

    def __init__(
        self,
        context: Context,
        leases: NodeLeases,
        rounds: RoundScheduler,
        returns: Returns,
        apply_effects: ApplyEffects,
        refresh: Callable[[str], Awaitable[None]],
        look_again: Callable[[str], Awaitable[None]],
    ) -> None:
        """Create it.

        ``refresh(market)`` reads what operators have set; ``look_again(market)`` does so too, and
        announces to all nodes what no node has announced.
        """
        self._context = context
        self._runtime = context.runtime
        self._leases = leases
        self._rounds = rounds
        self._returns = returns
        self._apply_effects = apply_effects
        self._refresh = refresh
        self._look_again = look_again
        # This node's share when all of it was last looked at, and which of its markets had drivers.
        self._seen_share: tuple[str, ...] = ()
        self._live: tuple[str, ...] = ()
        # By market and time slot: the timer and its entries; and the slot of each entry.
        self._timers: dict[tuple[str, int], asyncio.TimerHandle] = {}
        self._awaited: dict[tuple[str, int], set[str]] = {}
        self._slots: dict[tuple[str, str], int] = {}
        self._sweeping: set[str] = set()
        self._again: set[str] = set()
        self._tasks = Tasks()
        self._stopping = False

    async def start(self) -> None:
        """Become present and read what operators have set, then beat and sweep."""
        await self._leases.start()
        await self._read_controls(sorted(self._context.policies), self._refresh)
        runtime = self._runtime
        for interval_s, work in (
            (runtime.beat_s, self._beat),
            (runtime.sweep_s, self._sweep_live),
            (runtime.risk_s, self._sweep_share),
            (runtime.forget_s, self._forget_in_share),
            (runtime.learn_s, self._learn_all),
            (runtime.control_s, self._follow_controls),
        ):
            self._tasks.start(self._every(interval_s, work), work.__name__)

    def __len__(self) -> int:
        """The number of timers and tasks."""
        return len(self._timers) + len(self._tasks) + len(self._leases)

    async def stop(self) -> None:
        """Stop heartbeats and sweeps."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._awaited.clear()
        self._slots.clear()
        await self._tasks.stop()
        await self._leases.stop()

    def schedule(self, market: str, member: str, delay_s: float) -> None:
        """Sweep the market after this delay; replaces the entry's earlier timer."""
        self.forget(market, member)
        if self._stopping or delay_s > self._runtime.precise_s:
            return
        loop = asyncio.get_running_loop()
        # Round up: a sweep does not find an entry that is not due yet.
        slot = int((loop.time() + delay_s) / _GRAIN_S) + 1
        if (market, slot) not in self._timers:
            self._timers[market, slot] = loop.call_at(
                slot * _GRAIN_S, self._timer_fired, market, slot
            )
            self._awaited[market, slot] = set()
        self._awaited[market, slot].add(member)
        self._slots[market, member] = slot

    def forget(self, market: str, member: str) -> None:
        """Cancel the timer of an entry.

        Most offers end with an answer: a sweep for each of them would be half of all calls.
        """
        slot = self._slots.pop((market, member), None)
        if slot is None:
            return
        awaited = self._awaited[market, slot]
        awaited.discard(member)
        if not awaited:
            self._timers.pop((market, slot)).cancel()
            del self._awaited[market, slot]

    def _timer_fired(self, market: str, slot: int) -> None:
        del self._timers[market, slot]
        for member in self._awaited.pop((market, slot)):
            del self._slots[market, member]
        self._tasks.start(self._guarded(self.sweep, market), f"timer {market}")

    async def _beat(self) -> None:
        """Beat; at rest at the moments of most other periodic work, which wake Redis anyway."""
        await self._leases.beat(may_rest=not is_turn(2 * self._runtime.beat_s))

    async def _sweep_live(self) -> None:
        """Sweep this node's share of the markets with drivers, and the markets of its own drivers.

        So these are swept even while their owner is dead and no node has noticed it yet.
        """
        if self._leases.share is not self._seen_share:
            await self._sweep_share()
            return
        markets = sorted({*self._live, *self._leases.held})
        found = await self._look(markets, (Look.DUE,))
        await self._in_each(found[Look.DUE], self.sweep)

    async def _sweep_share(self) -> None:
        """Look at all markets of this node's share; sweep those without drivers as well."""
        self._seen_share = self._leases.share
        found = await self._look(self._seen_share, (Look.DUE, Look.LIVE, Look.RISKS))
        self._live = tuple(found[Look.LIVE])
        self._leases.share_is_live = bool(self._live)
        idle = [market for market in found[Look.DUE] if market not in set(self._live)]
        await self._in_each(idle, self.sweep)
        dead = (await self._look(self._live, (Look.DEAD_NODES,)))[Look.DEAD_NODES]
        await self._in_each(list(filter(self._leases.is_steady, dead)), self._leases.reap_dead)
        await self._in_each(found[Look.RISKS], self._look_at_risks)

    async def _forget_in_share(self) -> None:
        looks = (Look.ENDED_DATA, Look.ENDED_ALERTS)
        found = await self._look(self._leases.share, (*looks, Look.UNPACKED))
        markets = {market for look in looks for market in found[look]}
        await self._in_each(sorted(markets), self._forget)
        await self._in_each(found[Look.UNPACKED], self._pack)

    async def _learn_all(self) -> None:
        """Read the dwell sketches, unless no node has had drivers since: then none has changed."""
        if not self._leases.take_busy():
            return
        found = await self._look(sorted(self._context.policies), (Look.DWELLS,))
        await self._in_each(found[Look.DWELLS], self._learn)

    async def _follow_controls(self) -> None:
        """Read what operators have set in the markets of this node's share.

        Each renewal of a node's presence announces changes (`NodeLeases`). This finds and announces
        those that were not announced: the node that made them died first, or is an older version.
        """
        await self._read_controls(self._leases.share, self._look_again)

    async def _read_controls(
        self, markets: Sequence[str], read: Callable[[str], Awaitable[None]]
    ) -> None:
        looks = (Look.POLICIES, Look.PAUSES)
        found = await self._look(markets, looks)
        there = {market for look in looks for market in found[look]}
        resumed = {market for market in markets if self._context.pauses.get(market)}
        await self._in_each(sorted(there | resumed), read)

    async def _look(
        self, markets: Sequence[str], at: Sequence[Look]
    ) -> Mapping[Look, Sequence[str]]:
        if not markets:
            return dict.fromkeys(at, ())
        return await self._context.storage.deadlines.look(markets, at)

    async def _in_each(
        self, markets: Sequence[str], work: Callable[[str], Awaitable[None]]
    ) -> None:
        await asyncio.gather(*(self._guarded(work, market) for market in markets))

    async def sweep(self, market: str) -> None:
        """Execute what is overdue. A sweep that is already running is repeated instead."""
        if market in self._sweeping:
            self._again.add(market)
            return
        self._sweeping.add(market)
        try:
            while True:
                self._again.discard(market)
                entries = await self._context.storage.deadlines.due(market, _BATCH)
                await asyncio.gather(*(self._execute(market, entry) for entry in entries))
                if len(entries) < _BATCH and market not in self._again:
                    return
        finally:
            self._sweeping.discard(market)

    async def _execute(self, market: str, entry: DueEntry) -> None:
        try:
            await self._do(market, entry)
        except StoreUnavailable:
            raise
        except NoSuchJob:
            _log.error("due entry names no job", entry=entry.member)
        except Exception:  # noqa: BLE001  a bad entry must not block others
            _log.exception("due entry failed", entry=entry.member)

    async def _do(self, market: str, entry: DueEntry) -> None:
        store = self._context.storage
        effects: Effects | None = None
        match entry.kind:
            case DueKind.RETRY if self._context.places.knows(entry.mall):
                self._rounds.wake(entry.mall, due=entry.id)
            case DueKind.RETRY:
                # Its mall is no longer configured: the job can only expire.
                most = self._context.policy(market).max_attempts
                ref, reason = JobRef(entry.id, entry.mall), JobReason.NOBODY_IN_REACH
                effects = await store.deadlines.expire(ref, reason.value, most)
            case DueKind.OFFER:
                outcome, late_ms, effects = await store.deadlines.lapse(entry)
                if outcome is not None:
                    self._context.metrics.offer(outcome.value)
                    self._context.metrics.offer_late(late_ms / 1000)
                    count_round(self._context.metrics, effects)
            case DueKind.MORE:
                effects = (await store.deadlines.offer_more(entry)).effects
                count_round(self._context.metrics, effects)
            case DueKind.RELEASE:
                effects = await store.deadlines.queue(JobRef(entry.id, entry.mall))
            case DueKind.DOOR | DueKind.RETURN:
                effects = await self._returns.due(entry)
            case DueKind.SILENT:
                mall = self._context.places.malls.get(entry.mall)
                around = partial(is_around, mall) if mall is not None else nowhere
                effects = await store.deadlines.silence(entry, around)
            case DueKind.TRANSFER:
                effects = await store.transfers.settle(entry)
            case DueKind.DRIVER:
                effects = await store.deadlines.driver_due(market, entry.id)
            case _:
                _log.error("unknown due entry", entry=entry.member)
        if effects is not None:
            self._apply_effects(market, effects)

    async def _forget(self, market: str) -> None:
        storage = self._context.storage
        while await storage.deadlines.forget(market):
            pass
        while await storage.alerts.forget(market):
            pass

    async def _pack(self, market: str) -> None:
        """Pack jobs that have ended; a bounded number, the others next time."""
        for _ in range(_MOST_PACKINGS):
            packed = await self._context.storage.deadlines.pack(market)
            self._context.metrics.packed(packed.jobs, packed.bytes)
            if not packed.is_more:
                return

    async def _look_at_risks(self, market: str) -> None:
        """Determine risks that may have changed; a bounded number, the others next time."""
        deadlines = self._context.storage.deadlines
        jobs = await deadlines.risks_due(market, _MOST_RISKS)
        for risk in await asyncio.gather(*map(deadlines.look_at_risk, jobs)):
            if risk is not None:
                self._context.metrics.risk(market, risk.value)

    async def _learn(self, market: str) -> None:
        context = self._context
        enough = context.policy(market).dwell_visits
        if not enough:  # a reload may enable it
            return
        kept = await context.storage.drivers.dwells(market)
        await context.dwells.learn(context.places.market(market), kept, enough, context.metrics)

    async def _every(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except StoreUnavailable as error:
                _log.debug("maintenance skipped: storage unavailable", error=str(error))
            except Exception:  # noqa: BLE001  an error must not end the maintenance
                _log.exception("maintenance failed", work=work.__name__)
            await turn(interval_s)

    async def _guarded(self, work: Callable[[str], Awaitable[None]], market: str) -> None:
        """Run a maintenance task and log its errors: it is repeated soon."""
        try:
            await work(market)
        except StoreUnavailable as error:
            _log.debug("maintenance skipped: storage unavailable", market=market, error=str(error))
        except Exception:  # noqa: BLE001  an error must not end the maintenance
            _log.exception("maintenance failed", market=market, work=work.__name__)
