"""The dispatcher: carries out what people ask, and hastens what follows from it.

Each method is one transition of the store and its effects: phones are told, malls get their round,
timers are set. Nothing is decided here that a second node could decide otherwise: the store's
scripts arbitrate, this only makes haste.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from mallard_engine.core.matching.travel_time import TravelTime
from mallard_engine.core.model import Device, Driver, Job, Need, RoundRecord, Submission, Vehicle
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.core.places.markets import Places
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.core.reporting_interval import Reporting
from mallard_engine.dispatch.context import Context, Tasks, Workings, count_round
from mallard_engine.dispatch.drivers.barred import barred
from mallard_engine.dispatch.drivers.disconnects import Disconnects
from mallard_engine.dispatch.drivers.driver_reach import Reach
from mallard_engine.dispatch.drivers.geofence_arrivals import Arrivals
from mallard_engine.dispatch.drivers.roster import Block
from mallard_engine.dispatch.live_etas import LiveEtas
from mallard_engine.dispatch.pickup_eta import Collection
from mallard_engine.dispatch.reassignment import Handover
from mallard_engine.dispatch.rounds.round_scheduler import Rounds
from mallard_engine.dispatch.rounds.run_eta_updates import RunEtas
from mallard_engine.dispatch.rounds.speculative_offer import EarlyLook
from mallard_engine.dispatch.sweeper import Sweeper
from mallard_engine.metrics import Metrics
from mallard_engine.ports import (
    Answered,
    DriverFix,
    DriverSnapshot,
    Effects,
    Hello,
    JobRef,
    OfferLive,
    OwnDriver,
    PushKind,
    PushSink,
    Refused,
    Storage,
    StoreUnavailable,
    Submitted,
    TakenBack,
    TravelMatrixSource,
)
from mallard_protocol.lifecycle import JobState, Outcome, Step, Wish
from mallard_protocol.messages import Barred, Proof

_log = structlog.get_logger(__name__)


class Dispatcher:
    """One node's dispatcher for every market. ``start`` it inside a running loop.

    ``recover`` is called with a market where this node's drivers may have been taken out of
    matching (its lease ran out, its store was away), and whether the store has lost writes: it
    should take them back (`take_back`). ``travel``: by market,
    the source of travel times, where it is not the straight line; ``ahead``: the source that is
    asked before a ranking.
    """

    def __init__(
        self,
        node: str,
        store: Storage,
        push_sink: PushSink,
        places: Places,
        policies: Mapping[str, MarketPolicy],
        metrics: Metrics,
        *,
        travel: Mapping[str, TravelTime] | None = None,
        ahead: Mapping[str, TravelMatrixSource] | None = None,
        workings: Workings | None = None,
    ) -> None:
        self.node = node
        self.recover: Callable[[str, bool], Awaitable[None]] | None = None
        self._push_sink = push_sink
        self._context = Context(
            store, places, policies, metrics, travel or {}, ahead or {}, workings or Workings()
        )
        self._store = store
        self._tasks = Tasks()
        self._rounds = Rounds(self._context, self._follow, self._tasks)
        self._sweeper = Sweeper(self._context, node, self._rounds, self._follow, self._recover)
        self._disconnects = Disconnects(store, node, self._follow, self._tasks)
        self._reach = Reach(self._context, self._rounds)
        self._collection = Collection(self._context)
        self._handover = Handover(self._context, self._follow)
        self._etas = RunEtas(self._context, self._tasks)
        self._live = LiveEtas(self._context, self._tasks)
        self._arrivals = Arrivals(self._context, self._follow, self._tasks, self._reach)

    async def start(self) -> None:
        """Take the leases and begin to beat and sweep. :raises StoreUnavailable:"""
        await self._sweeper.start()

    def renew(
        self,
        policies: Mapping[str, MarketPolicy],
        travel: Mapping[str, TravelTime],
        ahead: Mapping[str, TravelMatrixSource],
    ) -> None:
        """Work with these policies of the same markets, and with the places as they are now. Jobs
        that wait are looked at under them at once."""
        self._context.use(policies, travel, ahead)
        self._rounds.renew()
        self._reach.renew()
        for market in policies:
            self._rounds.wake_all(market)

    async def stop(self) -> None:
        """Tell which sockets have closed, end every task and timer, give the leases up. A round
        that is cut short loses nothing: other nodes go on with what is due."""
        told = await self._disconnects.flush()
        await self._sweeper.stop()
        await self._tasks.stop()
        if told:
            await self._sweeper.leave()

    # -- the order side

    def look_early(self, mall: str) -> EarlyLook:
        """Look for drivers ahead of an order that is still being read. Close it in the end,
        whatever becomes of the order. Nobody looks at a mall that there is not, at one whose jobs
        go through batches or are pooled, nor where travel times have to be waited for: a submission
        never waits for its match."""
        if mall not in self._context.places.malls or not self._rounds.may_look_early(mall):
            return EarlyLook(None)
        rounds = self._rounds.at(mall)
        return EarlyLook(None if rounds.waits_for_travel else rounds)

    async def submit(self, submission: Submission, early: EarlyLook | None = None) -> Submitted:
        """See :meth:`mallard_engine.ports.Jobs.submit`; the job's offer, or its round, follows at
        once."""
        if submission.state is not JobState.QUEUED:
            submitted = await self._store.jobs.submit(submission)
            self._follow(submission.market, submitted.effects)
            return submitted
        if early is not None and await early.finds(submission):
            # It begins one turn later, so its offer leaves right behind the submission on the same
            # line. If that is refused, or an earlier one stands for it, there is no such job.
            self._tasks.start(self._offer_early(submission, early), f"offer {submission.job}")
            submitted = await self._store.jobs.submit(submission)
            self._follow(submission.market, replace(submitted.effects, malls=(), queued=()))
            # Where both answers came together the offer goes out before this one is written. Where
            # they did not, nobody waits: a submission never waits for its match.
            await asyncio.sleep(0)
            return submitted
        if early is not None:
            early.close()
        # The round is woken before the store has answered: its first look leaves right behind the
        # submission, so it finds the job.
        self._rounds.wake(submission.mall, submission.job)
        submitted = await self._store.jobs.submit(submission)
        self._follow(submission.market, replace(submitted.effects, malls=(), queued=()))
        return submitted

    async def _offer_early(self, submission: Submission, early: EarlyLook) -> None:
        if not await early.offer():
            self._rounds.wake(submission.mall, submission.job)

    async def cancel(self, ref: JobRef, actor: str, reason: str) -> None:
        """See :meth:`mallard_engine.ports.Jobs.cancel`."""
        self._follow_job(ref, await self._store.jobs.cancel(ref, actor, reason))

    async def ready(
        self, ref: JobRef, *, was: Job, body: bytes, card: bytes, need: Need, release_ms: int
    ) -> bool:
        """See :meth:`mallard_engine.ports.Jobs.ready`; False if the order changed meanwhile."""
        effects = await self._store.jobs.ready(
            ref,
            was=was,
            body=body,
            card=card,
            need=need,
            release_ms=release_ms,
            etas=await self._collection.etas(was, need),
        )
        if effects is not None:
            self._follow_job(ref, effects)
        return effects is not None

    async def lift_hold(self, mall: str, store: str, until_ms: int) -> None:
        """See :meth:`mallard_engine.ports.Jobs.lift_hold`; the mall's jobs look for drivers
        again."""
        market = self._context.places.market_of_mall(mall).id
        await self._store.jobs.lift_hold(market, mall, store, until_ms)
        self._rounds.wake(mall)

    def tour(self, job: Job) -> Tour:
        """The way through the stores for whoever holds the job."""
        return self._collection.tour(job)

    async def assign(self, ref: JobRef, driver: str, actor: str) -> None:
        """See :meth:`mallard_engine.ports.Jobs.assign`."""
        self._follow_job(ref, await self._store.jobs.assign(ref, driver, actor))
        self._arrivals.look_again(self._context.places.market_of_mall(ref.mall).id, driver)

    async def unassign(self, ref: JobRef, attempt: int, actor: str, reason: str) -> None:
        """See :meth:`mallard_engine.ports.Jobs.release`."""
        effects = await self._store.jobs.release(ref, attempt, Outcome.UNASSIGNED, actor, reason)
        self._follow_job(ref, effects)

    async def close(self, ref: JobRef, state: JobState, actor: str, reason: str) -> None:
        """See :meth:`mallard_engine.ports.Jobs.close`."""
        self._follow_job(ref, await self._store.jobs.close(ref, state, actor, reason))

    async def quote(self, mall: str, need: Need) -> RoundRecord:
        """The round that such a job would get now; nothing is stored."""
        return await self._rounds.at(mall).quote(need)

    def release_ms(self, mall: str, need: Need, now_ms: int) -> int:
        """See :meth:`Context.release_ms`."""
        market = self._context.places.market_of_mall(mall).id
        return self._context.release_ms(market, need, now_ms)

    # -- the driver side

    def expect(self, market: str, blocks: Iterable[Block]) -> None:
        """These are a market's blocks to come: its batches plan with them. Nothing is stored."""
        self._rounds.roster.expect(market, blocks)

    async def hello(
        self,
        market: str,
        driver: str,
        *,
        vehicle: Vehicle | None,
        fix: DriverFix | None,
        device: Device | None = None,
    ) -> Hello:
        """See :meth:`mallard_engine.ports.Drivers.hello`."""
        if fix is not None:
            (fix,) = self._reach.placed(market, [fix])
        self._disconnects.drop(market, driver)
        with self._reach.expecting(market, driver):
            try:
                hello = await self._store.drivers.hello(
                    market, driver, node=self.node, vehicle=vehicle, fix=fix, device=device
                )
            except StoreUnavailable:
                self.doubt(market)  # it may have been registered
                raise
            self._reach.came(market, driver, hello.epoch)
        if fix is not None:
            self._reach.moved(market, [fix], ["ok"])
            self._arrivals.moved(market, [fix], ["ok"])
        self._follow(market, hello.effects)
        return hello

    async def take_back(
        self, market: str, drivers: Sequence[OwnDriver], *, rewound: bool
    ) -> Sequence[TakenBack]:
        """See :meth:`mallard_engine.ports.Drivers.take_back`; each at its last accepted fix."""
        own = []
        for driver in drivers:
            fix, age_ms = self._reach.last_fix(market, driver.driver)
            own.append(replace(driver, fix=fix, age_ms=age_ms))
        taken, effects = await self._store.drivers.take_back(
            market, self.node, own, rewound=rewound
        )
        self._follow(market, effects)
        return taken

    def doubt(self, market: str) -> None:
        """A reply about a driver of this node went unheard: take the market's drivers back soon."""
        self._sweeper.doubt(market)

    def store_is_back(self) -> None:
        """The line to the store is open again: beat at once."""
        self._sweeper.beat_now()

    def gone(self, market: str, driver: str, epoch: int) -> None:
        """A driver's socket has closed; told to the store with the others of this moment."""
        self._reach.left(market, driver, epoch)
        self._arrivals.gone(market, driver)
        self._rounds.finishing.ended(market, driver)
        self._etas.ended(market, driver)
        self._live.gone(market, driver)
        self._disconnects.add(market, driver, epoch)

    def given(self, market: str, driver: str) -> None:
        """A driver of this node holds a job that it was not offered here: it may stand at the mall
        already."""
        self._arrivals.look_again(market, driver)
        # What was planned for it is not what it carries out now.
        self._etas.ended(market, driver)
        self._live.given(market, driver)

    def holds(self, market: str, snapshot: DriverSnapshot) -> None:
        """A driver has its socket on this node and holds this."""
        self._live.holds(market, snapshot.driver, snapshot.jobs)

    async def positions(self, market: str, fixes: Sequence[DriverFix]) -> tuple[str, ...]:
        """Record up to 256 fixes; the verdict on each, in order (see ``Recorded``)."""
        placed = self._reach.placed(market, fixes)
        recorded = await self._store.drivers.record_positions(market, placed)
        self._follow(market, recorded.effects)
        self._reach.moved(market, placed, recorded.verdicts)
        self._arrivals.moved(market, placed, recorded.verdicts)
        self._live.moved(market, placed, recorded.verdicts)
        return recorded.verdicts

    async def status(self, market: str, driver: str, wish: Wish, until_ms: int | None) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.status`; going offline declines a live offer
        first."""
        if wish is not Wish.AVAILABLE:
            self._rounds.finishing.ended(market, driver)
        try:
            return self._done(
                market, await self._store.drivers.status(market, driver, wish, until_ms)
            )
        except OfferLive as live:
            try:
                await self.decline(market, driver, live.offer, "offline")
            except Refused:
                # It has run out this very moment and only its sweep is still to come.
                await self._take_back(market, live.offer, driver)
            return self._done(
                market, await self._store.drivers.status(market, driver, wish, until_ms)
            )

    async def alive(self, market: str, driver: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.alive`."""
        return self._done(market, await self._store.drivers.alive(market, driver))

    async def seen(self, market: str, driver: str) -> None:
        """See :meth:`mallard_engine.ports.Drivers.seen`."""
        self._follow(market, await self._store.drivers.seen(market, driver))

    async def tell(self, market: str, driver: str, why: str) -> None:
        """See :meth:`mallard_engine.ports.Drivers.push_state`."""
        self._follow(market, await self._store.drivers.push_state(market, driver, why))

    async def offer_ack(self, market: str, driver: str, offer: str) -> None:
        """See :meth:`mallard_engine.ports.Offers.ack`."""
        self._follow(market, await self._store.offers.ack(market, driver, offer))

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """See :meth:`mallard_engine.ports.Offers.accept`."""
        answered = self._done(market, await self._store.offers.accept(market, driver, offer))
        self._rounds.finishing.accepted(market, answered.driver, answered.jobs)
        self._etas.accepted(market, answered)
        self._live.holds(market, answered.driver, answered.jobs)
        self._arrivals.look_again(market, driver)
        self._context.metrics.offer(Outcome.ACCEPTED.value)
        count_round(self._context.metrics, answered.effects)
        return answered

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """See :meth:`mallard_engine.ports.Offers.decline`."""
        answered = self._done(
            market, await self._store.offers.decline(market, driver, offer, reason)
        )
        self._context.metrics.offer(Outcome.DECLINED.value)
        count_round(self._context.metrics, answered.effects)
        return answered

    async def progress(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        step: Step,
        *,
        at_ms: int | None,
        proof: Proof | None = None,
        reason: str,
    ) -> Answered:
        """See :meth:`mallard_engine.ports.Jobs.progress`; an offer to one whose hands custody has
        filled
        goes to the next driver."""
        answered = await self._store.jobs.progress(
            ref, driver, attempt, step, at_ms=at_ms, proof=proof, reason=reason
        )
        market = self._context.places.market_of_mall(ref.mall).id
        if not answered.driver.jobs:
            self._rounds.finishing.ended(market, driver)
        elif step is Step.PICKED_UP:
            now_ms = answered.effects.now_ms
            self._rounds.finishing.picked_up(market, driver, ref.job, now_ms)
        self._etas.progressed(market, ref.job, step, answered)
        self._live.holds(market, answered.driver)
        self._follow(market, answered.effects)
        is_by_custody = step is not Step.GIVE_UP and answered.attempt > attempt
        if answered.driver.offer and is_by_custody:
            # Custody has filled hands that were still free when the offer went out.
            await self._take_back(market, answered.driver.offer, "engine")
        return answered

    async def claim(
        self, market: str, driver: str, job: str, attempt: int, state: str, *, at_ms: int | None
    ) -> None:
        """See :meth:`mallard_engine.ports.Jobs.claim`."""
        answered = self._done(
            market,
            await self._store.jobs.claim(market, driver, job, attempt, state, at_ms=at_ms),
        )
        if answered.driver.offer and answered.attempt > attempt:
            # Custody has filled hands that were still free when the offer went out.
            await self._take_back(market, answered.driver.offer, "engine")

    async def problem(
        self,
        market: str,
        driver: str,
        *,
        kind: str,
        mall: str,
        job: str,
        store: str,
        until_ms: int | None,
        text: str,
        attempt: int | None = None,
        at_ms: int | None = None,
    ) -> Answered:
        """See :meth:`mallard_engine.ports.Jobs.problem`."""
        answered = await self._store.jobs.problem(
            market,
            driver,
            kind=kind,
            mall=mall,
            job=job,
            store=store,
            until_ms=until_ms,
            text=text,
            attempt=attempt,
            at_ms=at_ms,
        )
        return self._done(market, answered)

    def reporting(self, market: str, usual_ms: int) -> Reporting:
        """How often a socket of the market should report; it begins with ``usual_ms``."""
        policy = self._context.policy(market)
        malls = [
            (mall.lat, mall.lon) for mall in self._context.places.market(market).malls.values()
        ]
        return Reporting(usual_ms, policy.stale_after_s, malls, policy.max_radius_m)

    def barred(self, market: str, driver: Driver, now_ms: int) -> Barred | None:
        """Why a driver is offered nothing, whatever it wants; ``driver``: with its position."""
        found = barred(driver, now_ms, self._context.policy(market).stale_after_s * 1000)
        return Barred(*found) if found else None

    async def suspend(self, market: str, driver: str, reason: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.suspend`; a live offer is withdrawn."""
        answered = self._done(market, await self._store.drivers.suspend(market, driver, reason))
        if offer := answered.driver.offer:
            await self._take_back(market, offer, "operator")
            answered = replace(answered, driver=replace(answered.driver, offer=None))
        return answered

    async def resume(self, market: str, driver: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.resume`."""
        return self._done(market, await self._store.drivers.resume(market, driver))

    async def _take_back(self, market: str, offer: str, actor: str) -> None:
        """Withdraw a live offer: its job looks on."""
        ref = await self._store.offers.first_job(market, offer)
        effects = await self._store.offers.withdraw(ref, offer, actor) if ref else Effects()
        if effects.pushes:
            self._context.metrics.offer(Outcome.WITHDRAWN.value)
            count_round(self._context.metrics, effects)
        self._follow(market, effects)

    # -- what follows

    def _done(self, market: str, answered: Answered) -> Answered:
        self._follow(market, answered.effects)
        return answered

    def _follow_job(self, ref: JobRef, effects: Effects) -> None:
        self._follow(self._context.places.market_of_mall(ref.mall).id, effects)

    def _follow(self, market: str, effects: Effects) -> None:
        if effects.pushes:
            self._push_sink.deliver(market, effects.pushes)
            for push in effects.pushes:
                # What it holds is no longer what was planned with; an arrival changes nothing.
                if push.kind is PushKind.JOB:
                    self._live.changed(market, push.driver)
                if push.kind is PushKind.JOB and push.state != JobState.AT_MALL:
                    self._rounds.finishing.ended(market, push.driver)
        for mall, job in effects.queued:
            self._rounds.wake(mall, job)
        for mall in effects.malls:
            self._rounds.wake(mall)
        if effects.freed:
            self._reach.freed(market, effects.freed)
        for late in effects.late:
            self._tasks.start(self._handover.look(market, late), f"hand over {late.job}")
        for member in effects.over:
            self._sweeper.forget(market, member)
        for member, due_ms in effects.due:
            self._sweeper.nudge(market, member, max(0, due_ms - effects.now_ms) / 1000)

    async def _recover(self, market: str, rewound: bool) -> None:  # noqa: FBT001 - private
        _log.warning("lease or store changed: taking drivers back", market=market, rewound=rewound)
        if self.recover is not None:
            await self.recover(market, rewound)
        await self._drop_strays(market)
        # The reply to what freed a driver, or queued a job, may have gone unheard.
        self._rounds.wake_all(market)

    async def _drop_strays(self, market: str) -> None:
        """Tell of sockets that the store believes to be here and that are not: the reply to their
        hello, or to their close, went unheard."""
        for driver, epoch in (await self._store.drivers.held(market, self.node)).items():
            if not self._reach.expects(market, driver):
                self._disconnects.add(market, driver, epoch)
