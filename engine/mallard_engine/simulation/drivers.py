"""Simulated drivers: they drive the dispatcher as a session would, without sockets."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from mallard_engine.core.model import Job, LiveOffer
from mallard_engine.core.pickup.pickup_plan import run_tour, service_times
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.ports import DriverFix, JobRef, Push, PushKind, Refused, Storage
from mallard_engine.simulation.scenario import Scenario, Shift, SimulatedOrder, Trip
from mallard_engine.simulation.virtual.clock import VirtualClock
from mallard_protocol.lifecycle import Step, Wish


class SimulatedDriver:
    """One driver from the start of its shift to the end of the last job that it took in it.

    ``done`` hears of each trip at its end; ``remember`` puts its history into its record.
    """

    def __init__(
        self,
        scenario: Scenario,
        shift: Shift,
        orders: dict[str, SimulatedOrder],
        dispatcher: Dispatcher,
        store: Storage,
        clock: VirtualClock,
        done: Callable[[Trip], None],
        remember: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self.shift = shift
        self.on_shift = False
        self._scenario = scenario
        self._orders = orders
        self._dispatcher = dispatcher
        self._store = store
        self._clock = clock
        self._done = done
        self._remember = remember
        self._inbox: asyncio.Queue[LiveOffer] = asyncio.Queue()
        # The offer on its screen, and whether that has been closed.
        self._considered = ""
        self._closed = asyncio.Event()
        # Text seeds do not depend on the process, as hashes of text would.
        self._dice = random.Random(f"{scenario.seed} {shift.driver}")
        self._from = self._to = (shift.lat, shift.lon)
        self._left_ms = self._there_ms = shift.on_ms
        # How many visits to a mall it has made, and how many jobs the last one began with.
        self._runs = 0
        self._offered = 0

    def fix(self) -> DriverFix:
        """Where it is now: on the straight line between two stops."""
        now_ms = self._clock.now_ms()
        lat, lon = self._to
        if now_ms < self._there_ms:
            part = (now_ms - self._left_ms) / (self._there_ms - self._left_ms)
            lat = self._from[0] + part * (lat - self._from[0])
            lon = self._from[1] + part * (lon - self._from[1])
        return DriverFix(self.shift.driver, now_ms, lat, lon, 5.0)

    def hear(self, push: Push) -> None:
        """Something came from the engine: an offer, or the end of the one that it considers. What
        else there is, this driver needs not know."""
        if push.offer is not None:
            self._inbox.put_nowait(push.offer)
        elif push.kind is PushKind.OFFER_CLOSED and push.offer_id == self._considered:
            self._closed.set()

    async def work(self) -> None:
        """The whole shift."""
        market, driver = self._scenario.market, self.shift.driver
        await self._clock.until(self.shift.on_ms)
        hello = await self._dispatcher.hello(
            market, driver, vehicle=self.shift.vehicle, fix=self.fix()
        )
        if self.shift.history:
            await self._remember(driver, self.shift.history)
        await self._dispatcher.status(market, driver, Wish.AVAILABLE, self.shift.off_ms)
        self.on_shift = True
        while offer := await self._next_offer():
            if run := await self._consider(offer):
                await self._carry_out(list(run))
        self.on_shift = False
        await self._dispatcher.status(market, driver, Wish.OFFLINE, None)
        self._dispatcher.gone(market, driver, hello.epoch)

    async def _next_offer(self) -> LiveOffer | None:
        """The next offer before the shift is over."""
        try:
            async with asyncio.timeout(self._clock.seconds_to(self.shift.off_ms)):
                return await self._inbox.get()
        except TimeoutError:
            return None if self._inbox.empty() else self._inbox.get_nowait()

    async def _consider(self, offer: LiveOffer) -> tuple[Job, ...]:
        """Answer an offer; the jobs that came of it. One that is closed meanwhile (another driver
        was faster) goes from the screen at once."""
        market, driver = self._scenario.market, self.shift.driver
        self._considered = offer.offer
        self._closed.clear()
        try:
            await self._dispatcher.offer_ack(market, driver, offer.offer)
        except Refused:  # it was closed before it was seen
            return ()
        accepts = self._dice.random() < self.shift.acceptance
        answers = accepts or self._dice.random() < 0.5  # half of the refusals are silence
        if await self._is_closed_by(self._clock.now_ms() + self._scenario.answer_ms):
            return ()
        try:
            if accepts:
                return (await self._dispatcher.accept(market, driver, offer.offer)).jobs
            if answers:
                await self._dispatcher.decline(market, driver, offer.offer, "")
        except Refused:  # it has been closed meanwhile
            pass
        return ()

    async def _is_closed_by(self, at_ms: int) -> bool:
        try:
            async with asyncio.timeout(self._clock.seconds_to(at_ms)):
                return await self._closed.wait()
        except TimeoutError:
            return False

    async def _carry_out(self, run: list[Job]) -> None:
        """One visit to the mall: the jobs accepted, and those that come on top on the way there."""
        service, mall = self._scenario.service, self._scenario.places.mall(run[0].mall)
        self._runs += 1
        accepted_ms = dict.fromkeys([job.id for job in run], self._clock.now_ms())
        gate = mall.gates[self._tour(run).gate]
        way_in_m = await self._go(gate.lat, gate.lon, run, accepted_ms)
        arrived_ms = self._clock.now_ms()
        for job in run:
            await self._report(job, Step.AT_MALL)
        tour = self._tour(run, gate.id)
        picked_up_ms = tour.done_ms(arrived_ms)
        await self._clock.until(picked_up_ms)
        for job in run:
            await self._report(job, Step.PICKED_UP)
        await self._clock.until(picked_up_ms + tour.back_ms)
        for job in await self._in_order(run):
            order = self._orders[job.id]
            way_out_m = await self._drive(order.lat, order.lon)
            dropped_off_ms = self._clock.now_ms() + service.door_ms
            await self._clock.until(dropped_off_ms + service.leave_ms)
            # The engine hears of it when the driver is free again.
            await self._report(job, Step.DELIVERED)
            times = accepted_ms[job.id], arrived_ms, picked_up_ms, dropped_off_ms
            name = f"{self.shift.driver}/{self._runs}"
            trip = Trip(order, self.shift.driver, *times, way_in_m, way_out_m, name)
            way_in_m = 0.0
            self._done(trip)

    def _tour(self, run: list[Job], gate: str | None = None) -> Tour:
        """Its way through the stores, from now on; from the gate where it has parked, if it has."""
        mall = self._scenario.places.mall(run[0].mall)
        park_s = self._scenario.service.park_ms / 1000
        service_time = service_times(self._scenario.places.malls, park_s)
        needs = [job.need for job in run]
        return run_tour(mall, needs, service_time, self._clock.now_ms(), gate)

    async def _in_order(self, run: list[Job]) -> list[Job]:
        """The jobs in the order of their drop-offs: that of the offer, or, where one came on top,
        that of the times which the engine expects, as an app shows them."""
        if len(run) == self._offered:
            return run
        snapshot = await self._store.drivers.snapshot(self._scenario.market, self.shift.driver)
        due_ms = {job.id: job.eta_dropoff_ms or 0 for job in snapshot.jobs}
        return sorted(run, key=lambda job: (due_ms.get(job.id, 0), job.id))

    async def _go(
        self, lat: float, lon: float, run: list[Job], accepted_ms: dict[str, int]
    ) -> float:
        """Drive to the mall, answering offers of one more job on the way; the metres."""
        driving = asyncio.create_task(self._drive(lat, lon), name=f"drive {self.shift.driver}")
        self._offered = len(run)
        while not driving.done():
            coming = asyncio.create_task(self._inbox.get())
            await asyncio.wait((driving, coming), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
                break
            for job in await self._consider(coming.result()):
                accepted_ms[job.id] = self._clock.now_ms()
                run.append(job)
        return await driving

    async def _drive(self, lat: float, lon: float) -> float:
        """Drive there; the metres."""
        here, now_ms = self._to, self._clock.now_ms()
        seconds = self._scenario.travel.seconds(*here, lat, lon, now_ms)
        self._from, self._to = here, (lat, lon)
        self._left_ms, self._there_ms = now_ms, now_ms + round(seconds * 1000)
        await self._clock.until(self._there_ms)
        return self._scenario.distance_m(*here, lat, lon)

    async def _report(self, job: Job, step: Step) -> None:
        """A step, after the fix of where it happened, as from a phone."""
        await self._dispatcher.positions(self._scenario.market, [self.fix()])
        ref = JobRef(job.id, job.mall)
        await self._dispatcher.progress(
            ref, self.shift.driver, job.attempt, step, at_ms=None, reason=""
        )
