"""Everything that must happen later: what is overdue, the leases, what is kept long enough.

Every node sweeps every market, in small bites. The node that made a due entry also wakes itself at
that moment, for precision: the same sweep, only sooner. Doing an entry twice does nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks, count_round
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.ports import (
    DueEntry,
    DueKind,
    Effects,
    JobRef,
    NoSuchJob,
    Standing,
    StoreUnavailable,
)
from mallard_protocol.codes import JobReason

_log = structlog.get_logger(__name__)

_BITE = 256
_REAP_LIMIT = 256
# Moments this close together share a wake-up. What is further off than a minute is left to the
# regular sweeps, which are late by a quarter of a second at most (see `RuntimeOptions`).
_GRAIN_S = 0.01


class Sweeper:
    """Sweeps and beats for one node.

    ``recover(market, rewound)`` takes this node's drivers back. It is called when a beat answers
    with another `Standing` than when they were last taken back, and again until it succeeds.
    ``rewound``: the store has lost writes.
    """

    def __init__(
        self,
        context: Context,
        node: str,
        rounds: RoundScheduler,
        apply_effects: ApplyEffects,
        recover: Callable[[str, bool], Awaitable[None]],
    ) -> None:
        self._context = context
        self._workings = context.runtime
        self._node = node
        self._rounds = rounds
        self._apply_effects = apply_effects
        self._recover = recover
        # By market: under what this node's drivers were last taken back.
        self._standings: dict[str, Standing] = {}
        self._doubted: set[str] = set()
        self._recovering: set[str] = set()
        # By market and slot of time: the timer, and the entries that it is for; and the other way.
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

    def __len__(self) -> int:
        """How many timers and tasks are under way."""
        return len(self._timers) + len(self._tasks)

    async def stop(self) -> None:
        """Stop beating and sweeping."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._awaited.clear()
        self._slots.clear()
        await self._tasks.stop()

    async def leave(self) -> None:
        """Give the leases up where no driver is held any more; the others run out by themselves."""
        for market in self._context.policies:
            try:
                await self._context.storage.leases.leave(market, self._node)
            except StoreUnavailable:
                return

    def nudge(self, market: str, member: str, delay_s: float) -> None:
        """Sweep the market after that delay: this entry falls due then, and no more at the time
        that was said before."""
        self.forget(market, member)
        if self._stopping or delay_s > self._workings.precise_s:
            return
        loop = asyncio.get_running_loop()
        # One grain late rather than a hair early: an entry that is not yet due is not found.
        slot = int((loop.time() + delay_s) / _GRAIN_S) + 1
        if (market, slot) not in self._timers:
            self._timers[market, slot] = loop.call_at(slot * _GRAIN_S, self._nudged, market, slot)
            self._awaited[market, slot] = set()
        self._awaited[market, slot].add(member)
        self._slots[market, member] = slot

    def forget(self, market: str, member: str) -> None:
        """This entry does not fall due any more: what most offers end with is an answer, and a
        sweep for each that did would be half of all calls."""
        slot = self._slots.pop((market, member), None)
        if slot is None:
            return
        awaited = self._awaited[market, slot]
        awaited.discard(member)
        if not awaited:
            self._timers.pop((market, slot)).cancel()
            del self._awaited[market, slot]

    def _nudged(self, market: str, slot: int) -> None:
        del self._timers[market, slot]
        for member in self._awaited.pop((market, slot)):
            del self._slots[market, member]
        self._tasks.start(self._quietly(self.sweep, market), f"nudge {market}")

    async def sweep(self, market: str) -> None:
        """Carry out what is overdue; shared with a sweep under way."""
        if market in self._sweeping:
            self._again.add(market)
            return
        self._sweeping.add(market)
        try:
            while True:
                self._again.discard(market)
                entries = await self._context.storage.deadlines.due(market, _BITE)
                await asyncio.gather(*(self._carry_out(market, entry) for entry in entries))
                if len(entries) < _BITE and market not in self._again:
                    return
        finally:
            self._sweeping.discard(market)

    async def _carry_out(self, market: str, entry: DueEntry) -> None:
        try:
            await self._do(market, entry)
        except StoreUnavailable:
            raise
        except NoSuchJob:
            _log.error("due entry of a job that cannot be", entry=entry.member)
        except Exception:  # noqa: BLE001  a poison entry blocks nobody: it comes up again, alone
            _log.exception("due entry failed", entry=entry.member)

    async def _do(self, market: str, entry: DueEntry) -> None:
        store = self._context.storage
        effects: Effects | None = None
        match entry.kind:
            case DueKind.RETRY if entry.mall in self._context.places.malls:
                self._rounds.wake(entry.mall, due=entry.id)
            case DueKind.RETRY:
                # Its mall is no longer in the configuration: it can only wait for its end.
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
            case DueKind.SILENT:
                effects = await store.deadlines.silence(entry)
            case DueKind.DRIVER:
                effects = await store.deadlines.driver_due(market, entry.id)
            case _:
                _log.error("unknown due entry", entry=entry.member)
        if effects is not None:
            self._apply_effects(market, effects)

    async def _beat(self, market: str) -> None:
        beat = await self._context.storage.leases.beat(market, self._node)
        if market in self._doubted or beat.standing != self._standings[market]:
            self._start_recovery(market, beat.standing)
        for node in beat.dead:
            if node != self._node:
                await self._reap(market, node)

    def beat_now(self) -> None:
        """Beat in every market at once: the store is back, so each lease may have run out."""
        if not self._stopping:
            for market in self._standings:
                self._tasks.start(self._quietly(self._beat, market), f"beat {market}")

    def doubt(self, market: str) -> None:
        """A reply went unheard, so what the store knows of this node's drivers is not certain: take
        them back with the next beat."""
        self._doubted.add(market)

    def _start_recovery(self, market: str, standing: Standing) -> None:
        if market in self._recovering or self._stopping:
            return
        self._recovering.add(market)
        self._doubted.discard(market)
        self._tasks.start(self._take_back(market, standing), f"recover {market}")

    async def _take_back(self, market: str, standing: Standing) -> None:
        """A failed attempt leaves the old standing, so the next beat starts another one."""
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
                self._doubted.add(market)

    async def _reap(self, market: str, node: str) -> None:
        taken = _REAP_LIMIT
        while taken == _REAP_LIMIT:
            taken, effects = await self._context.storage.leases.reap(market, node, _REAP_LIMIT)
            self._apply_effects(market, effects)
            if taken:
                _log.warning("took out a dead node's drivers", dead=node, drivers=taken)

    async def _forget(self, market: str) -> None:
        while await self._context.storage.deadlines.forget(market):
            pass

    async def _learn(self, market: str) -> None:
        context = self._context
        enough = context.policy(market).dwell_visits
        if not enough:  # a reload may turn it on
            return
        kept = await context.storage.drivers.dwells(market)
        await context.dwells.learn(context.places.market(market), kept, enough, context.metrics)

    async def _every(
        self, interval_s: float, market: str, work: Callable[[str], Awaitable[None]]
    ) -> None:
        while True:
            await self._quietly(work, market)
            await asyncio.sleep(interval_s)

    async def _quietly(self, work: Callable[[str], Awaitable[None]], market: str) -> None:
        """Run a piece of upkeep; what fails now is tried again soon anyway."""
        try:
            await work(market)
        except StoreUnavailable as error:
            _log.debug("upkeep without a store", market=market, error=str(error))
        except Exception:  # noqa: BLE001  the upkeep of one market must not end with one bug
            _log.exception("upkeep failed", market=market, work=work.__name__)
