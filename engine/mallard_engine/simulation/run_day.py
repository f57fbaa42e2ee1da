"""Simulates one day: the real dispatcher and storage with simulated orders and drivers."""

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from mallard_engine.core.model import Need, Submission
from mallard_engine.dispatch.context import RuntimeOptions
from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.dispatch.drivers.upcoming_drivers import Block
from mallard_engine.metrics import Metrics
from mallard_engine.ports import Push
from mallard_engine.simulation.bad_day.driver import BadDayDriver
from mallard_engine.simulation.bad_day.orders import body_of
from mallard_engine.simulation.bad_day.people import People
from mallard_engine.simulation.readme_driver import ReadmeDriver
from mallard_engine.simulation.scenario import Day, Scenario, SimulatedOrder, Trip
from mallard_engine.simulation.shift_driver import ShiftDriver
from mallard_engine.simulation.virtual.clock import VirtualClock
from mallard_engine.simulation.virtual.loop import VirtualLoop
from mallard_engine.simulation.virtual.store import SimulationStorage
from mallard_protocol.lifecycle import JobState

POSITIONS_EVERY_MS = 30_000
_FIXES_A_BATCH = 256
# Due entries have timers, so sweeps only handle drivers' own limits (`Scenario.sweep_s`).
_BEAT_S = 600.0
_FORGET_S = 600.0
_PRECISE_S = 86_400.0
# Nothing in a simulation reads risks.
_RISK_S = 86_400.0
_CONTROL_S = 86_400.0
_SERVICE = "simulated-shop"

# Takes the virtual time and the numbers of orders placed and delivered so far.
Watch = Callable[[int, int, int], None]


def simulate(scenario: Scenario, store_url: str, watch: Watch | None = None) -> Day:
    """Run the day on the Redis at `store_url`, which is emptied first.

    The same scenario gives the same day, event for event.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)  # noqa: S101 - it is what the factory makes
        return runner.run(_Simulation(scenario, store_url, loop, watch).run())


def job_id(scenario: Scenario, order: SimulatedOrder) -> str:
    """Return the engine's id of an order's job."""
    return f"job_{scenario.market}.{order.id}"


class _Simulation:
    """The parts of one simulated day; it is the push sink of its dispatcher."""

    def __init__(
        self, scenario: Scenario, store_url: str, loop: VirtualLoop, watch: Watch | None
    ) -> None:
        self._scenario = scenario
        self._watch = watch
        self._clock = VirtualClock(loop, scenario.start_ms)
        # No customer reads the expected times of a simulated day.
        policies = {scenario.market: replace(scenario.policy, eta_every_s=0)}
        self._store = SimulationStorage(store_url, policies, self._clock.now_ms)
        numbers = itertools.count(1)
        self._dispatcher = Dispatcher(
            "simulation",
            self._store,
            self,
            scenario.places,
            policies,
            Metrics(),
            travel={scenario.market: scenario.travel},
            runtime=RuntimeOptions(
                clock=loop.time,
                new_offer_id=lambda: f"offer_{next(numbers):07}",
                sweep_s=scenario.sweep_s,
                beat_s=_BEAT_S,
                forget_s=_FORGET_S,
                precise_s=_PRECISE_S,
                risk_s=_RISK_S,
                control_s=_CONTROL_S,
                may_thread=False,  # virtual time would pass while a thread works
            ),
        )
        orders = {job_id(scenario, order): order for order in scenario.orders}
        self._people: People | None = None
        new_driver: Callable[..., ShiftDriver] = (
            ReadmeDriver if scenario.readme_drivers else ShiftDriver
        )
        if scenario.bad_day is not None:
            self._people = People(
                scenario, scenario.bad_day, orders, self._dispatcher, self._store, self._clock
            )
            new_driver = partial(BadDayDriver, people=self._people)
        self._drivers = {
            shift.driver: new_driver(
                scenario,
                shift,
                orders,
                self._dispatcher,
                self._store,
                self._clock,
                self._delivered,
                partial(self._store.remember, scenario.market),
            )
            for shift in scenario.shifts
        }
        self._placed = 0
        self._trips: list[Trip] = []

    def deliver(self, market: str, pushes: Sequence[Push]) -> None:
        """See :class:`mallard_engine.ports.PushSink`: the drivers are in this process."""
        del market
        for push in pushes:
            self._drivers[push.driver].receive(push)

    async def run(self) -> Day:
        """Run the day from its start to its end."""
        started = time.perf_counter()
        shifts = self._scenario.shifts
        await self._store.connect()
        try:
            await self._dispatcher.start()
            if self._scenario.blocks_known:
                self._dispatcher.drivers.expect_blocks(
                    self._scenario.market,
                    (Block(s.driver, s.lat, s.lon, s.on_ms, s.off_ms) for s in shifts),
                )
            work = [asyncio.create_task(driver.work()) for driver in self._drivers.values()]
            ticker = asyncio.create_task(self._report_positions())
            if self._people is not None:
                self._people.start()
            await self._place_orders()
            await asyncio.gather(*work)
            await self._clock.until(self._scenario.end_ms)
            ticker.cancel()
            accounts = None if self._people is None else await self._people.settle()
            await self._dispatcher.stop()
            events = await self._store.events(self._scenario.market)
        finally:
            await self._store.close()
        offers = Counter(
            str(event["cause"])
            for event in events
            if event["kind"] == "job" and event["from"] == JobState.OFFERED
        )
        # Offers of a staggered round that ended without a change of their job's state.
        offers += Counter(
            str(event["what"])
            for event in events
            if event["kind"] == "offer" and event["what"] != "offered"
        )
        return Day(
            self._scenario,
            tuple(self._trips),
            tuple(events),
            dict(sorted(offers.items())),
            time.perf_counter() - started,
            self._store.calls,
            accounts,
        )

    async def _place_orders(self) -> None:
        for order in sorted(self._scenario.orders, key=lambda order: (order.placed_ms, order.id)):
            await self._clock.until(order.placed_ms)
            await self._dispatcher.orders.submit(self._submission(order))
            self._placed += 1
            if self._people is not None:
                self._people.order_placed(job_id(self._scenario, order))

    def _submission(self, order: SimulatedOrder) -> Submission:
        now_ms = self._clock.now_ms()
        need = Need(
            stores=order.stores,
            ready_ms=order.ready_ms,
            deadline_ms=order.best_by_ms,
            expires_ms=order.expires_ms,
            lat=order.lat,
            lon=order.lon,
            parcels=order.parcels,
            weight_g=0,
            volume_l=0,
            requires=(),
            priority=0,
            created_ms=now_ms,
            pay_minor=order.pay_minor,
        )
        release_ms = self._dispatcher.orders.release_ms(order.mall, need, now_ms)
        return Submission(
            job=job_id(self._scenario, order),
            market=self._scenario.market,
            service=_SERVICE,
            mall=order.mall,
            key=order.id,
            body_hash=order.id,
            external_id=None,
            state=JobState.SCHEDULED if release_ms > now_ms else JobState.QUEUED,
            release_ms=release_ms,
            body=self._body(order),
            card=b"{}",
            need=need,
        )

    def _body(self, order: SimulatedOrder) -> bytes:
        """Return as much of the order as the engine reads: its shops, if there are several."""
        bad_day = self._scenario.bad_day
        if bad_day is not None:
            return body_of(order, bad_day)
        if len(order.stores) == 1:
            return b"{}"
        shops = [{"store": store, "parcels": 1} for store in order.stores]
        return json.dumps({"pickup": {"stores": shops}}).encode()

    async def _report_positions(self) -> None:
        for at_ms in itertools.count(
            self._scenario.start_ms + POSITIONS_EVERY_MS, POSITIONS_EVERY_MS
        ):
            await self._clock.until(at_ms)
            fixes = [driver.fix() for driver in self._drivers.values() if driver.on_shift]
            for first in range(0, len(fixes), _FIXES_A_BATCH):
                batch = fixes[first : first + _FIXES_A_BATCH]
                await self._dispatcher.drivers.positions(self._scenario.market, batch)
            if self._watch is not None:
                self._watch(at_ms, self._placed, len(self._trips))

    def _delivered(self, trip: Trip) -> None:
        self._trips.append(trip)
