"""Simulated drivers: they drive the dispatcher as a session would, without sockets."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from engine.core.model import LiveOffer
from engine.dispatch.dispatcher import Dispatcher
from engine.ports import DriverFix, JobRef, Push, Refused
from engine.simulation.clock import VirtualClock
from engine.simulation.scenario import Scenario, Shift, SimulatedOrder, Trip
from protocol.lifecycle import Step, Wish


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
        clock: VirtualClock,
        done: Callable[[Trip], None],
        remember: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self.shift = shift
        self.on_shift = False
        self._scenario = scenario
        self._orders = orders
        self._dispatcher = dispatcher
        self._clock = clock
        self._done = done
        self._remember = remember
        self._inbox: asyncio.Queue[LiveOffer] = asyncio.Queue()
        # Text seeds do not depend on the process, as hashes of text would.
        self._dice = random.Random(f"{scenario.seed} {shift.driver}")
        self._from = self._to = (shift.lat, shift.lon)
        self._left_ms = self._there_ms = shift.on_ms

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
        """Something came from the engine; what is not an offer, this driver needs not know."""
        if push.offer is not None:
            self._inbox.put_nowait(push.offer)

    async def work(self) -> None:
        """The whole shift."""
        market, driver = self._scenario.market, self.shift.driver
        await self._clock.until(self.shift.on_ms)
        hello = await self._dispatcher.hello(market, driver, vehicle=None, fix=self.fix())
        if self.shift.history:
            await self._remember(driver, self.shift.history)
        await self._dispatcher.status(market, driver, Wish.AVAILABLE, self.shift.off_ms)
        self.on_shift = True
        while offer := await self._next_offer():
            await self._consider(offer)
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

    async def _consider(self, offer: LiveOffer) -> None:
        market, driver = self._scenario.market, self.shift.driver
        await self._dispatcher.offer_ack(market, driver, offer.offer)
        accepts = self._dice.random() < self.shift.acceptance
        answers = accepts or self._dice.random() < 0.5  # half of the refusals are silence
        await self._clock.until(self._clock.now_ms() + self._scenario.answer_ms)
        try:
            if accepts:
                answered = await self._dispatcher.accept(market, driver, offer.offer)
                for job in answered.jobs:
                    await self._carry_out(JobRef(job.id, job.mall), job.attempt)
            elif answers:
                await self._dispatcher.decline(market, driver, offer.offer, "")
        except Refused:  # it has been closed meanwhile
            return

    async def _carry_out(self, ref: JobRef, attempt: int) -> None:
        order, service = self._orders[ref.job], self._scenario.service
        mall = self._scenario.places.mall(ref.mall)
        accepted_ms = self._clock.now_ms()
        gate = mall.gates[mall.stores[order.stores[0]].gate]
        way_in_m = await self._drive(gate.lat, gate.lon)
        arrived_ms = self._clock.now_ms()
        await self._report(ref, attempt, Step.AT_MALL)
        walk_ms = sum(mall.stores[store].walk_s for store in order.stores) * 1000
        picked_up_ms = max(arrived_ms + walk_ms + service.park_ms, order.ready_ms)
        await self._clock.until(picked_up_ms)
        await self._report(ref, attempt, Step.PICKED_UP)
        await self._clock.until(picked_up_ms + service.load_ms)
        way_out_m = await self._drive(order.lat, order.lon)
        dropped_off_ms = self._clock.now_ms() + service.door_ms
        await self._clock.until(dropped_off_ms + service.leave_ms)
        # The engine hears of it when the driver is free again.
        await self._report(ref, attempt, Step.DELIVERED)
        self._done(
            Trip(
                order,
                self.shift.driver,
                accepted_ms,
                arrived_ms,
                picked_up_ms,
                dropped_off_ms,
                way_in_m,
                way_out_m,
            )
        )

    async def _drive(self, lat: float, lon: float) -> float:
        """Drive there; the metres."""
        here, now_ms = self._to, self._clock.now_ms()
        seconds = self._scenario.travel.seconds(*here, lat, lon, now_ms)
        self._from, self._to = here, (lat, lon)
        self._left_ms, self._there_ms = now_ms, now_ms + round(seconds * 1000)
        await self._clock.until(self._there_ms)
        return self._scenario.distance_m(*here, lat, lon)

    async def _report(self, ref: JobRef, attempt: int, step: Step) -> None:
        """A step, after the fix of where it happened, as from a phone."""
        await self._dispatcher.positions(self._scenario.market, [self.fix()])
        await self._dispatcher.progress(
            ref, self.shift.driver, attempt, step, at_ms=None, age_checked=False, reason=""
        )
