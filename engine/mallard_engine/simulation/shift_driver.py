"""One driver of a simulated day: it calls the dispatcher as a session would, without a socket.

It runs in virtual time. The order of its calls and of its random numbers decides the day's events:
recorded days change with either.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from mallard_engine.core.model import Job, LiveOffer
from mallard_engine.core.pickup.pickup_plan import run_tour, service_times
from mallard_engine.core.pickup.store_tour import Tour
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.dispatch.step_commands import StepReport
from mallard_engine.ports import DriverFix, JobRef, Push, PushKind, Refused, Storage
from mallard_engine.simulation.scenario import Scenario, Shift, SimulatedOrder, Trip
from mallard_engine.simulation.virtual.clock import VirtualClock
from mallard_engine.workload.behaviour import Answer, draw_by_acceptance
from mallard_engine.workload.road import Journey
from mallard_protocol.lifecycle import Step, Wish


class ShiftDriver:
    """One driver from the start of its shift to the end of the last job that it accepted in it.

    Args:
        orders: The day's orders by job id.
        done: Called with each trip when it ends.
        remember: Stores the history of former days in the driver's record.
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
        # The offer that it considers, and whether that has been closed.
        self._considered = ""
        self._closed = asyncio.Event()
        # A text seed gives the same numbers in every process; a hash of text would not.
        self._rng = random.Random(f"{scenario.seed} {shift.driver}")
        home = (shift.lat, shift.lon)
        self._journey = Journey(home, home, shift.on_ms, shift.on_ms)
        # The number of visits to a mall so far, and of jobs that the last one began with.
        self._runs = 0
        self._offered = 0
        # The epoch of its socket.
        self._epoch = 0

    def fix(self) -> DriverFix:
        """Return the current position, on the straight line between two stops."""
        now_ms = self._clock.now_ms()
        return DriverFix(self.shift.driver, now_ms, *self._journey.at(now_ms), 5.0)

    def receive(self, push: Push) -> None:
        """Take an offer, or the end of the one that it considers; ignore all other pushes."""
        if push.offer is not None:
            self._inbox.put_nowait(push.offer)
        elif push.kind is PushKind.OFFER_CLOSED and push.offer_id == self._considered:
            self._closed.set()

    async def work(self) -> None:
        """Work the whole shift."""
        market, driver = self._scenario.market, self.shift.driver
        await self._clock.until(self.shift.on_ms)
        await self._hello()
        if self.shift.history:
            await self._remember(driver, self.shift.history)
        await self._become_available()
        self.on_shift = True
        while offer := await self._next_offer():
            if run := await self._consider(offer):
                await self._carry_out(list(run))
        self.on_shift = False
        await self._go_offline()
        self._dispatcher.drivers.socket_closed(market, driver, self._epoch)

    async def _become_available(self) -> None:
        await self._dispatcher.drivers.status(
            self._scenario.market, self.shift.driver, Wish.AVAILABLE, self.shift.off_ms
        )

    async def _go_offline(self) -> None:
        await self._dispatcher.drivers.status(
            self._scenario.market, self.shift.driver, Wish.OFFLINE, None
        )

    async def _hello(self) -> None:
        hello = await self._dispatcher.drivers.hello(
            self._scenario.market, self.shift.driver, vehicle=self.shift.vehicle, fix=self.fix()
        )
        self._epoch = hello.epoch

    async def _next_offer(self) -> LiveOffer | None:
        """Return the next offer before the end of the shift."""
        try:
            async with asyncio.timeout(self._clock.seconds_to(self.shift.off_ms)):
                return await self._inbox.get()
        except TimeoutError:
            return None if self._inbox.empty() else self._inbox.get_nowait()

    async def _consider(self, offer: LiveOffer) -> tuple[Job, ...]:
        """Answer an offer and return the jobs that were assigned.

        An offer that is closed meanwhile, as another driver was faster, is not answered.
        """
        market, driver = self._scenario.market, self.shift.driver
        self._considered = offer.offer
        self._closed.clear()
        try:
            await self._dispatcher.offers.ack(market, driver, offer.offer)
        except Refused:  # closed before the driver saw it
            return ()
        answer = draw_by_acceptance(self.shift.acceptance, self._rng)
        if await self._is_closed_by(self._clock.now_ms() + self._scenario.answer_ms):
            return ()
        try:
            if answer is Answer.ACCEPT:
                return (await self._dispatcher.offers.accept(market, driver, offer.offer)).jobs
            if answer is Answer.DECLINE:
                await self._dispatcher.offers.decline(market, driver, offer.offer, "")
        except Refused:  # closed meanwhile
            pass
        return ()

    async def _is_closed_by(self, at_ms: int) -> bool:
        try:
            async with asyncio.timeout(self._clock.seconds_to(at_ms)):
                return await self._closed.wait()
        except TimeoutError:
            return False

    async def _carry_out(self, run: list[Job]) -> None:
        """Visit the mall for the accepted jobs and those added on the way, and deliver them."""
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
            await self._pick_up(job)
        await self._clock.until(picked_up_ms + tour.back_ms)
        for job in await self._in_order(run):
            order = self._orders[job.id]
            way_out_m = await self._drive(order.lat, order.lon)
            dropped_off_ms = self._clock.now_ms() + service.door_ms
            await self._clock.until(dropped_off_ms + service.leave_ms)
            # Reported when the driver is free again, not at the door.
            await self._report(job, Step.DELIVERED)
            times = accepted_ms[job.id], arrived_ms, picked_up_ms, dropped_off_ms
            name = f"{self.shift.driver}/{self._runs}"
            trip = Trip(order, self.shift.driver, *times, way_in_m, way_out_m, name)
            way_in_m = 0.0
            self._done(trip)

    async def _pick_up(self, job: Job) -> None:
        """Report the pickup at the end of the tour: shop by shop if there are several."""
        if len(job.need.stores) == 1:
            await self._report(job, Step.PICKED_UP)
            return
        for shop in job.need.stores:
            await self._report(job, Step.COLLECTED, shop)

    def _tour(self, run: list[Job], gate: str | None = None) -> Tour:
        """Return the tour of the stores from now on, from `gate` if the driver has parked there."""
        mall = self._scenario.places.mall(run[0].mall)
        park_s = self._scenario.service.park_ms / 1000
        service_time = service_times(self._scenario.places.mall, park_s)
        needs = [job.need for job in run]
        return run_tour(mall, needs, service_time, self._clock.now_ms(), gate)

    async def _in_order(self, run: list[Job]) -> list[Job]:
        """Return the jobs in drop-off order.

        It is the order of the offer; if a job was added on the way, that of the drop-off times
        which the engine expects and an app shows.
        """
        if len(run) == self._offered:
            return run
        snapshot = await self._store.drivers.snapshot(self._scenario.market, self.shift.driver)
        due_ms = {job.id: job.eta_dropoff_ms or 0 for job in snapshot.jobs}
        return sorted(run, key=lambda job: (due_ms.get(job.id, 0), job.id))

    async def _go(
        self, lat: float, lon: float, run: list[Job], accepted_ms: dict[str, int]
    ) -> float:
        """Drive to the mall, answering offers of added jobs on the way; return the metres."""
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
        """Drive to a point; return the metres."""
        here, now_ms = self._journey.end, self._clock.now_ms()
        seconds = self._scenario.travel.seconds(*here, lat, lon, now_ms)
        arrives_ms = now_ms + round(seconds * 1000)
        self._journey = Journey(here, (lat, lon), now_ms, arrives_ms)
        await self._clock.until(arrives_ms)
        return self._scenario.distance_m(*here, lat, lon)

    async def _report(self, job: Job, step: Step, store: str | None = None) -> None:
        """Report a step after the fix of where it happened, as a driver app does."""
        await self._dispatcher.drivers.positions(self._scenario.market, [self.fix()])
        ref = JobRef(job.id, job.mall)
        report = StepReport(ref, self.shift.driver, job.attempt, step, store=store)
        await self._dispatcher.steps.progress(report)
