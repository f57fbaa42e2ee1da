"""Sweeps overdue entries, renews leases and deletes expired data.

Every node sweeps every market, in small batches. The node that created a due entry also sets a
timer for it: the same sweep, only sooner. Executing an entry twice has no further effect.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from mallard_engine.core.places.geofence import is_around
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks, count_round
from mallard_engine.dispatch.returns import Returns
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.ports import (
    DueEntry,
    DueKind,
    Effects,
    JobRef,
    NoSuchJob,
    Standing,
    StoreUnavailable,
    nowhere,
)
from mallard_protocol.codes import JobReason

_log = structlog.get_logger(__name__)

_BATCH = 256
_REAP_LIMIT = 256
# Risks that are determined in one sweep of a market.
_MOST_RISKS = 256
# Entries this close together share a timer. Regular sweeps, at most a quarter of a second late,
# handle what is due in more than a minute (see `RuntimeOptions`).
_GRAIN_S = 0.01


class Sweeper:
    """Sweeps and beats for one node.

    ``recover(market, rewound)`` takes this node's drivers back. It is called when a heartbeat
    returns another `Standing` than the one under which they were last taken back, and again until
    it succeeds. ``rewound``: the storage has lost writes. ``refresh(market)`` reads what operators
    have set.
    """

    def __init__(
        self,
        context: Context,
        node: str,
        rounds: RoundScheduler,
        returns: Returns,
        apply_effects: ApplyEffects,
        recover: Callable[[str, bool], Awaitable[None]],
        refresh: Callable[[str], Awaitable[None]],
    ) -> None:
        self._context = context
        self._workings = context.runtime
        self._node = node
        self._rounds = rounds
        self._returns = returns
        self._apply_effects = apply_effects
        self._recover = recover
        self._refresh = refresh
        # By market: the standing under which this node's drivers were last taken back.
        self._standings: dict[str, Standing] = {}
        self._to_recover: set[str] = set()
        self._recovering: set[str] = set()
        # By market and time slot: the timer and its entries; and the slot of each entry.
        self._timers: dict[tuple[str, int], asyncio.TimerHandle] = {}
        self._awaited: dict[tuple[str, int], set[str]] = {}
        self._slots: dict[tuple[str, str], int] = {}
        self._sweeping: set[str] = set()
        self._again: set[str] = set()
        self._tasks = Tasks()
        self._stopping = False

    async def start(self) -> None:
        """Take the first leases, then beat and sweep in the background."""
        for market in self._context.policies:
            beat = await self._context.storage.leases.beat(market, self._node)
            self._standings[market] = beat.standing
            await self._refresh(market)
        for market in self._context.policies:
            self._tasks.start(
                self._every(self._workings.beat_s, market, self._beat), f"beat {market}"
            )
            self._tasks.start(
                self._every(self._workings.sweep_s, market, self.sweep), f"sweep {market}"
            )
            self._tasks.start(
                self._every(self._workings.forget_s, market, self._forget), f"forget {market}"
            )
            self._tasks.start(
                self._every(self._workings.learn_s, market, self._learn), f"learn {market}"
            )

            self._tasks.start(
                self._every(self._workings.risk_s, market, self._look_at_risks), f"risks {market}"
            )
            self._tasks.start(
                self._every(self._workings.control_s, market, self._refresh), f"controls {market}"
            )

    def __len__(self) -> int:
        """The number of timers and tasks."""
        return len(self._timers) + len(self._tasks)

    async def stop(self) -> None:
        """Stop heartbeats and sweeps."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._awaited.clear()
        self._slots.clear()
        await self._tasks.stop()

    async def leave(self) -> None:
        """Give up the leases of markets without drivers here; the others expire."""
        for market in self._context.policies:
            try:
                await self._context.storage.leases.leave(market, self._node)
            except StoreUnavailable:
                return

    def schedule(self, market: str, member: str, delay_s: float) -> None:
        """Sweep the market after this delay; replaces the entry's earlier timer."""
        self.forget(market, member)
        if self._stopping or delay_s > self._workings.precise_s:
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

    async def _beat(self, market: str) -> None:
        beat = await self._context.storage.leases.beat(market, self._node)
        if market in self._to_recover or beat.standing != self._standings[market]:
            self._start_recovery(market, beat.standing)
        for node in beat.dead:
            if node != self._node:
                await self._reap(market, node)
                # It may have freed drivers or queued jobs and woken no round.
                self._rounds.wake_all(market, driver=True)

    def beat_now(self) -> None:
        """Beat in every market at once: after an outage each lease may have expired."""
        if not self._stopping:
            for market in self._standings:
                self._tasks.start(self._guarded(self._beat, market), f"beat {market}")

    def recover_soon(self, market: str) -> None:
        """Take a market's drivers back with the next heartbeat, because a reply was lost."""
        self._to_recover.add(market)

    def _start_recovery(self, market: str, standing: Standing) -> None:
        if market in self._recovering or self._stopping:
            return
        self._recovering.add(market)
        self._to_recover.discard(market)
        self._tasks.start(self._take_back(market, standing), f"recover {market}")

    async def _take_back(self, market: str, standing: Standing) -> None:
        """Recover once. A failed attempt keeps the old standing: the next heartbeat retries."""
        rewound = standing.lost_ms != self._standings[market].lost_ms
        succeeded = False
        try:
            await self._recover(market, rewound)
            self._standings[market] = standing
            succeeded = True
        except StoreUnavailable as error:
            _log.debug("drivers not taken back yet", market=market, error=str(error))
        finally:
            self._recovering.discard(market)
            if not succeeded:
                self._to_recover.add(market)

    async def _reap(self, market: str, node: str) -> None:
        taken = _REAP_LIMIT
        while taken == _REAP_LIMIT:
            taken, effects = await self._context.storage.leases.reap(market, node, _REAP_LIMIT)
            self._apply_effects(market, effects)
            if taken:
                _log.warning("took out a dead node's drivers", dead=node, drivers=taken)

    async def _forget(self, market: str) -> None:
        storage = self._context.storage
        while await storage.deadlines.forget(market):
            pass
        while await storage.alerts.forget(market):
            pass

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

    async def _every(
        self, interval_s: float, market: str, work: Callable[[str], Awaitable[None]]
    ) -> None:
        while True:
            await self._guarded(work, market)
            await asyncio.sleep(interval_s)

    async def _guarded(self, work: Callable[[str], Awaitable[None]], market: str) -> None:
        """Run a maintenance task and log its errors: it is repeated soon."""
        try:
            await work(market)
        except StoreUnavailable as error:
            _log.debug("maintenance skipped: storage unavailable", market=market, error=str(error))
        except Exception:  # noqa: BLE001  an error must not end the maintenance
            _log.exception("maintenance failed", market=market, work=work.__name__)
