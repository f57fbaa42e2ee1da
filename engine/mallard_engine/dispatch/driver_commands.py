"""Commands of drivers, and what a node knows of their sockets."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from mallard_engine.core.model import Device, Driver, Vehicle
from mallard_engine.core.pauses import MARKET
from mallard_engine.core.places.meeting import is_meeting
from mallard_engine.core.reporting_interval import Reporting
from mallard_engine.core.vehicles import (
    DriverClaims,
    DriverProfile,
    RegisteredDriver,
    StatedVehicle,
)
from mallard_engine.dispatch.confirmed import Confirmed, ConfirmedStep
from mallard_engine.dispatch.context import ApplyEffects, Context, Tasks, count_round
from mallard_engine.dispatch.drivers.barred import barred
from mallard_engine.dispatch.drivers.disconnects import Disconnects
from mallard_engine.dispatch.drivers.driver_reach import DriverReach
from mallard_engine.dispatch.drivers.geofence_arrivals import GeofenceArrivals
from mallard_engine.dispatch.drivers.upcoming_drivers import Block
from mallard_engine.dispatch.etas.course import new_course
from mallard_engine.dispatch.etas.live_etas import LiveEtas
from mallard_engine.dispatch.etas.run_etas import RunEtas
from mallard_engine.dispatch.leases import NodeLeases
from mallard_engine.dispatch.returns import Returns
from mallard_engine.dispatch.rounds.round_scheduler import RoundScheduler
from mallard_engine.ports import (
    Answered,
    DriverFix,
    DriverSnapshot,
    Effects,
    Hello,
    JobRef,
    NoSuchDriver,
    NoSuchJob,
    OfferLive,
    OwnDriver,
    Refused,
    StoreUnavailable,
    TakenBack,
)
from mallard_protocol.codes import CUSTOMER_PROBLEMS, ErrorCode, JobReason
from mallard_protocol.lifecycle import JobState, Outcome, Step, Wish
from mallard_protocol.messages import Barred, Proof

# Refusals for which lost writes may be the reason: the step before this one may be among them.
_DOUBTFUL: Final = frozenset({ErrorCode.NOT_YOURS, ErrorCode.STALE_ATTEMPT, ErrorCode.WRONG_STATE})


class DriverCommands:
    """Executes commands of drivers and applies their effects.

    Args:
        context: What all parts share.
        node: This node's name.
        rounds: The rounds of all malls.
        reach: The drivers of this node.
        arrivals: Arrivals by geofence.
        returns: The way back of jobs.
        disconnects: Closed sockets that the storage does not know of yet.
        tasks: Background tasks.
        apply_effects: Applies effects in a market.
        leases: The leases of this node.
        confirmed: Remembers the steps that were confirmed.
    """

    def __init__(
        self,
        context: Context,
        node: str,
        rounds: RoundScheduler,
        reach: DriverReach,
        arrivals: GeofenceArrivals,
        returns: Returns,
        disconnects: Disconnects,
        tasks: Tasks,
        apply_effects: ApplyEffects,
        leases: NodeLeases,
        confirmed: Confirmed,
    ) -> None:
        self._context = context
        self._node = node
        self._drivers = context.storage.drivers
        self._jobs = context.storage.jobs
        self._offers = context.storage.offers
        self._rounds = rounds
        self._upcoming = rounds.upcoming
        self._reach = reach
        self._arrivals = arrivals
        self._returns = returns
        self._disconnects = disconnects
        self._apply_effects = apply_effects
        self._leases = leases
        self._confirmed = confirmed
        self._etas = RunEtas(context, tasks)
        self._live = LiveEtas(context, tasks)

    def expect_blocks(self, market: str, blocks: Iterable[Block]) -> None:
        """Replace the future blocks of a market, with which its batches plan."""
        self._upcoming.expect(market, blocks)

    async def hello(
        self,
        market: str,
        driver: str,
        *,
        vehicle: StatedVehicle | Vehicle | None,
        fix: DriverFix | None,
        device: Device | None = None,
        claims: DriverClaims | None = None,
    ) -> Hello:
        """See :meth:`mallard_engine.ports.Drivers.hello`."""
        located = self._reach.locate(market, [fix] if fix is not None else [])
        self._disconnects.drop(market, driver)
        with self._reach.expecting(market, driver):
            try:
                await self._leases.hold(market)
                hello = await self._drivers.hello(
                    market,
                    driver,
                    node=self._node,
                    vehicle=vehicle,
                    fix=located[0].fix if located else None,
                    device=device,
                    claims=claims,
                )
            except StoreUnavailable:
                self._leases.recover_soon(market)  # the driver may be registered
                raise
            self._reach.connected(market, driver, hello.epoch)
        if located:
            self._reach.moved(market, located, ["ok"])
            self._arrivals.moved(market, located, ["ok"])
        self._apply_effects(market, hello.effects)
        return hello

    async def set_claims(
        self, market: str, driver: str, epoch: int, claims: DriverClaims | None
    ) -> None:
        """See :meth:`mallard_engine.ports.Drivers.set_claims`."""
        self._apply_effects(market, await self._drivers.set_claims(market, driver, epoch, claims))

    async def take_back(
        self, market: str, drivers: Sequence[OwnDriver], *, rewound: bool
    ) -> Sequence[TakenBack]:
        """See :meth:`mallard_engine.ports.Drivers.take_back`. Adds each driver's last fix."""
        own = []
        for driver in drivers:
            fix, age_ms = self._reach.last_fix(market, driver.driver)
            own.append(replace(driver, fix=fix, age_ms=age_ms))
        taken, effects = await self._drivers.take_back(market, self._node, own, rewound=rewound)
        self._apply_effects(market, effects)
        return taken

    def socket_closed(self, market: str, driver: str, epoch: int) -> None:
        """Note that a driver's socket has closed. It is reported in a batch."""
        self._reach.disconnected(market, driver, epoch)
        self._arrivals.forget(market, driver)
        self._upcoming.ended(market, driver)
        self._etas.ended(market, driver)
        self._live.forget(market, driver)
        self._disconnects.add(market, driver, epoch)

    def holds_unknown_job(self, market: str, driver: str) -> None:
        """Note that a driver of this node holds a job that this node did not offer to it."""
        self._arrivals.look_again(market, driver)
        # The driver's run is no longer the planned one.
        self._etas.ended(market, driver)
        self._live.holds_unknown_job(market, driver)

    def set_held_jobs(self, market: str, snapshot: DriverSnapshot) -> None:
        """Note what a driver with a socket on this node holds."""
        self._live.holds(market, snapshot.driver, snapshot.jobs)

    async def positions(self, market: str, fixes: Sequence[DriverFix]) -> tuple[str, ...]:
        """Record up to 256 fixes and return the verdict on each (see ``Recorded``)."""
        located = self._reach.locate(market, fixes)
        placed = [each.fix for each in located]
        recorded = await self._drivers.record_positions(market, placed)
        self._apply_effects(market, recorded.effects)
        self._reach.moved(market, located, recorded.verdicts)
        self._arrivals.moved(market, located, recorded.verdicts)
        self._live.moved(market, placed, recorded.verdicts)
        return recorded.verdicts

    async def status(self, market: str, driver: str, wish: Wish, until_ms: int | None) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.status`. Declines a live offer first."""
        if wish is not Wish.AVAILABLE:
            self._upcoming.ended(market, driver)
        try:
            return self._done(market, await self._drivers.status(market, driver, wish, until_ms))
        except OfferLive as live:
            try:
                await self.decline(market, driver, live.offer, "offline")
            except Refused:
                # The offer has just expired and has not been swept yet.
                await self._withdraw(market, live.offer, driver)
            return self._done(market, await self._drivers.status(market, driver, wish, until_ms))

    async def alive(self, market: str, driver: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.alive`."""
        return self._done(market, await self._drivers.alive(market, driver))

    async def seen(self, market: str, driver: str) -> None:
        """See :meth:`mallard_engine.ports.Drivers.seen`."""
        self._apply_effects(market, await self._drivers.seen(market, driver))

    async def push_state(self, market: str, driver: str, why: str) -> None:
        """See :meth:`mallard_engine.ports.Drivers.push_state`."""
        self._apply_effects(market, await self._drivers.push_state(market, driver, why))

    async def offer_ack(self, market: str, driver: str, offer: str) -> None:
        """See :meth:`mallard_engine.ports.Offers.ack`."""
        self._apply_effects(market, await self._offers.ack(market, driver, offer))

    async def accept(self, market: str, driver: str, offer: str) -> Answered:
        """See :meth:`mallard_engine.ports.Offers.accept`."""
        answered = self._done(market, await self._offers.accept(market, driver, offer))
        self._upcoming.accepted(market, answered.driver, answered.jobs)
        self._etas.accepted(market, answered)
        self._live.holds(market, answered.driver, answered.jobs)
        self._arrivals.look_again(market, driver)
        self._context.metrics.offer(Outcome.ACCEPTED.value)
        count_round(self._context.metrics, answered.effects)
        return answered

    async def decline(self, market: str, driver: str, offer: str, reason: str) -> Answered:
        """See :meth:`mallard_engine.ports.Offers.decline`."""
        answered = self._done(market, await self._offers.decline(market, driver, offer, reason))
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
        store: str | None = None,
        parcels: int | None = None,
        jobs: Sequence[str] | None = None,
    ) -> Answered:
        """See :meth:`mallard_engine.ports.Jobs.progress`; for the pickup of a transfer, see
        :meth:`mallard_engine.ports.Transfers.take_over`.

        Withdraws the live offer of a driver who reports custody of a parcel of another attempt.

        Raises:
            StoreUnavailable: also if the step may be refused only because of lost writes.
        """
        progress = partial(self._progress, ref, driver, attempt, step, at_ms=at_ms, proof=proof)
        progress = partial(progress, reason=reason, store=store, parcels=parcels, jobs=jobs)
        market = self._context.places.market_of_mall(ref.mall).id
        return await self._unless_forgotten(market, progress)

    async def _unless_forgotten(
        self, market: str, call: Callable[[], Awaitable[Answered]]
    ) -> Answered:
        """Refuse nothing while lost writes are not restored: the app would drop its report."""
        known = self._leases.standing(market)
        try:
            return await call()
        except (NoSuchJob, Refused) as refused:
            is_doubtful = isinstance(refused, NoSuchJob) or refused.code in _DOUBTFUL
            if is_doubtful and not await self._leases.has_kept(market, known):
                raise StoreUnavailable("lost writes are being restored") from refused
            raise

    async def _progress(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        step: Step,
        *,
        at_ms: int | None,
        proof: Proof | None,
        reason: str,
        store: str | None,
        parcels: int | None,
        jobs: Sequence[str] | None = None,
    ) -> Answered:
        if step is Step.PICKED_UP and is_meeting(ref.mall):
            return await self._take_over(ref, driver, attempt, at_ms, proof, jobs)
        if jobs is not None:
            raise Refused(ErrorCode.BAD_FIELD)
        if step is Step.RETURNED:
            answered = await self._returned(ref, driver, attempt, at_ms, proof, reason)
        else:
            plan = None
            if step is Step.RETURNING:
                plan = await self._returns.plan(await self._jobs.get(ref.job))
            answered = await self._jobs.progress(
                ref,
                driver,
                attempt,
                step,
                at_ms=at_ms,
                proof=proof,
                reason=reason,
                store=store,
                parcels=parcels,
                plan=plan,
            )
        market = self._context.places.market_of_mall(ref.mall).id
        if step is Step.RETURNING:
            self._arrivals.look_again(market, driver)
        if not answered.driver.jobs:
            self._upcoming.ended(market, driver)
        elif step in (Step.COLLECTED, Step.PICKED_UP):
            now_ms = answered.effects.now_ms
            self._upcoming.picked_up(market, driver, ref.job, now_ms)
        if step in (Step.COLLECTED, Step.PICKED_UP) and answered.took_custody(ref.job, attempt):
            fix, _ = self._reach.last_fix(market, driver)
            place = None if fix is None else (fix.lat, fix.lon)
            self._etas.took_custody(market, ref.mall, answered, place)
        else:
            self._etas.progressed(market, ref.job, step, answered)
        self._live.holds(market, answered.driver)
        self._apply_effects(market, answered.effects)
        if answered.driver.offer and answered.took_custody(ref.job, attempt):
            # The parcel on board takes the room for which the live offer was made.
            await self._withdraw(market, answered.driver.offer, "engine")
        redo = partial(self._progress, ref, driver, attempt, step, at_ms=at_ms, proof=proof)
        redo = partial(redo, reason=reason, store=store, parcels=parcels)
        done = ConfirmedStep(ref.job, answered.job_state, redo, driver, attempt)
        self._confirmed.step(market, done)
        return answered

    async def _take_over(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        at_ms: int | None,
        proof: Proof | None,
        jobs: Sequence[str] | None,
    ) -> Answered:
        answered = await self._context.storage.transfers.take_over(
            ref, driver, attempt, at_ms=at_ms, proof=proof, jobs=jobs
        )
        market = self._context.places.market_of_mall(ref.mall).id
        if answered.effects.changed_jobs:
            self._context.metrics.transfer("delivered")
            # Both drivers hold other jobs than this node has planned with.
            for changed in {driver, *(push.driver for push in answered.effects.pushes)}:
                self._upcoming.ended(market, changed)
                self._etas.ended(market, changed)
                self.holds_unknown_job(market, changed)
        self._apply_effects(market, answered.effects)
        if answered.driver.offer:
            await self._withdraw(market, answered.driver.offer, "engine")
        return await self._with_new_course(market, answered)

    async def _with_new_course(self, market: str, answered: Answered) -> Answered:
        """Order the drop-offs of a driver who has taken jobs over; return their times as well.

        Until then they have the times of the first driver. Without the storage they keep these.
        """
        driver = answered.driver.id
        try:
            stops = await new_course(self._context, market, driver)
            await self._jobs.update_etas(market, driver, stops)
        except (NoSuchDriver, StoreUnavailable):
            return answered
        # Live ETAs keep the order that they have read.
        self._live.holds_unknown_job(market, driver)
        times = {stop.job: stop.eta_dropoff_ms for stop in stops}
        jobs = [
            replace(job, eta_dropoff_ms=times.get(job.id, job.eta_dropoff_ms))
            for job in answered.jobs
        ]
        return replace(answered, jobs=tuple(jobs))

    async def _returned(
        self,
        ref: JobRef,
        driver: str,
        attempt: int,
        at_ms: int | None,
        proof: Proof | None,
        reason: str,
    ) -> Answered:
        job = await self._jobs.get(ref.job)
        plan = None
        if job.state is JobState.RETURNING and job.return_to is None:
            plan = await self._returns.plan(job)
        return await self._context.storage.returns.returned(
            ref,
            driver,
            attempt,
            at_ms=at_ms,
            proof=proof,
            reason=reason,
            at_place=job.driver == driver and await self._returns.is_at_place(job, plan),
            plan=plan,
        )

    async def claim(
        self, market: str, driver: str, job: str, attempt: int, state: str, *, at_ms: int | None
    ) -> None:
        """See :meth:`mallard_engine.ports.Jobs.claim`."""
        answered = self._done(
            market,
            await self._jobs.claim(market, driver, job, attempt, state, at_ms=at_ms),
        )
        if answered.driver.offer and answered.attempt > attempt:
            # The parcel on board takes the room for which the live offer was made.
            await self._withdraw(market, answered.driver.offer, "engine")

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
        """See :meth:`mallard_engine.ports.Jobs.problem` and `Returns.undelivered`.

        Raises:
            StoreUnavailable: also if it may be refused only because of lost writes.
        """
        problem = partial(self._problem, market, driver, kind=kind, mall=mall, job=job, store=store)
        problem = partial(problem, until_ms=until_ms, text=text, attempt=attempt, at_ms=at_ms)
        return await self._unless_forgotten(market, problem)

    async def _problem(
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
        attempt: int | None,
        at_ms: int | None,
    ) -> Answered:
        if job and kind in CUSTOMER_PROBLEMS:
            known = await self._jobs.get(job)
            answered = await self._context.storage.returns.undelivered(
                JobRef(job, known.mall),
                driver,
                kind=kind,
                store=store,
                until_ms=until_ms,
                text=text,
                attempt=attempt,
                at_ms=at_ms,
                plan=await self._returns.plan(known),
            )
            return self._done(market, answered)
        answered = await self._jobs.problem(
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
        if store:
            self._live.changed(market, driver)
        return self._done(market, answered)

    def reporting(self, market: str, usual_ms: int) -> Reporting:
        """Return the reporting interval of a new socket, which starts at ``usual_ms``."""
        policy = self._context.policy(market)
        malls = [
            (mall.lat, mall.lon) for mall in self._context.places.market(market).malls.values()
        ]
        return Reporting(usual_ms, policy.stale_after_s, malls, policy.max_radius_m)

    def barred(self, market: str, driver: Driver, now_ms: int) -> Barred | None:
        """Return why the driver is offered no jobs, whatever it wishes, or None."""
        found = barred(
            driver,
            now_ms,
            self._context.policy(market).stale_after_s * 1000,
            market_paused=MARKET in self._context.pauses.get(market, {}),
        )
        return Barred(*found) if found else None

    async def suspend(self, market: str, driver: str, reason: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.suspend`; a live offer is withdrawn."""
        answered = self._done(market, await self._drivers.suspend(market, driver, reason))
        if offer := answered.driver.offer:
            await self._withdraw(market, offer, "operator")
            answered = replace(answered, driver=replace(answered.driver, offer=None))
        return answered

    async def register(
        self,
        market: str,
        driver: str,
        profile: DriverProfile | None,
        *,
        suspended: bool,
        actor: str,
    ) -> RegisteredDriver:
        """See :meth:`mallard_engine.ports.Register.put`; a live offer is withdrawn."""
        known, effects = await self._context.storage.register.put(
            market, driver, profile, suspended=suspended, actor=actor
        )
        self._apply_effects(market, effects)
        if suspended and (offer := known.driver.offer):
            await self._withdraw(market, offer, "operator")
            known = replace(known, driver=replace(known.driver, offer=None))
        return known

    async def resume(self, market: str, driver: str) -> Answered:
        """See :meth:`mallard_engine.ports.Drivers.resume`."""
        return self._done(market, await self._drivers.resume(market, driver))

    async def _withdraw(self, market: str, offer: str, actor: str) -> None:
        """Withdraw a live offer; its jobs return to the queue."""
        ref = await self._offers.first_job(market, offer)
        effects = await self._offers.withdraw(ref, offer, actor) if ref else Effects()
        if effects.pushes:
            self._context.metrics.offer(Outcome.WITHDRAWN.value)
            count_round(self._context.metrics, effects)
        self._apply_effects(market, effects)

    def _done(self, market: str, answered: Answered) -> Answered:
        self._apply_effects(market, answered.effects)
        return answered

    def job_pushed(self, market: str, driver: str, state: str, reason: str) -> None:
        """Forget plans with what a driver held: its job has changed."""
        self._live.changed(market, driver)
        if reason == JobReason.UPDATED:
            self._etas.ended(market, driver)  # the place of the drop-off may have changed
        if state == JobState.RETURNING:
            self._arrivals.look_again(market, driver)
        if state != JobState.AT_MALL:  # an arrival changes no plan
            self._upcoming.ended(market, driver)
