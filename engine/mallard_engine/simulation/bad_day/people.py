"""The people of a bad day who are not drivers: the shops, the customers and the order service.

They know what has happened to each order and keep the ledger of the parcels. What they say reaches
the engine by the same commands as over HTTP.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from mallard_engine.dispatch.dispatcher import Dispatcher
from mallard_engine.ports import JobRef, Refused, Storage, WrongState
from mallard_engine.simulation.scenario import MINUTE_MS, Scenario, SimulatedOrder
from mallard_engine.simulation.virtual.clock import VirtualClock
from mallard_engine.workload.bad_day.events import BadDay, BadEvent, parcels_there
from mallard_engine.workload.bad_day.ledger import (
    Accounts,
    JobEnd,
    Ledger,
    Whereabouts,
    settle,
)
from mallard_protocol.codes import AnswerAction, CancelReason
from mallard_protocol.lifecycle import TERMINAL

_HOUR_MS: Final = 60 * MINUTE_MS
# How much later than promised a late parcel is ready, in minutes.
_LATE_MIN: Final = (15, 60)
_FOUND_AFTER_MIN: Final = (15, 60)
_ANSWERED_AFTER_MIN: Final = (1, 4)
_CANCELLED_AFTER_MIN: Final = (5, 90)
_SERVICE: Final = "simulated-shop"


@dataclass(frozen=True, slots=True)
class AtCounter:
    """What a driver finds at the counter of a shop, for one order."""

    parcels: int
    ready_ms: int
    closed_until_ms: int


class People:
    """The shops, customers and order service of one bad day."""

    def __init__(
        self,
        scenario: Scenario,
        bad_day: BadDay,
        orders: dict[str, SimulatedOrder],
        dispatcher: Dispatcher,
        store: Storage,
        clock: VirtualClock,
    ) -> None:
        self.bad_day = bad_day
        self.ledger = Ledger()
        # Reports that the engine refused, by step or problem and code.
        self.refused: Counter[tuple[str, str]] = Counter()
        self._scenario = scenario
        self._orders = orders
        self._dispatcher = dispatcher
        self._store = store
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._found: set[str] = set()
        self._at_home: set[str] = set()
        self._closures = dict(self._closures_of_the_day())

    def start(self) -> None:
        """Let the shops close when they do."""
        for (mall, shop), from_ms in self._closures.items():
            self._later(from_ms, partial(self._close, mall, shop, from_ms + _HOUR_MS))

    async def stop(self) -> None:
        """Cancel pending events.

        Raises:
            Exception: the first error of the events that have run.
        """
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome

    async def settle(self) -> Accounts:
        """Compare the ledger with what the engine says of each job."""
        await self.stop()
        jobs = [await self._store.jobs.get(job) for job in self.ledger.parcels]
        ends = {job.id: JobEnd(job.state.value, job.driver, job.reason) for job in jobs}
        return settle(self.ledger, ends)

    def order_placed(self, job: str) -> None:
        """Note a submitted order; some are cancelled later."""
        order, event = self._orders[job], self.event(job)
        self.ledger.ordered(job, event, order.best_by_ms, self._soonest_ms(job))
        if self.bad_day.in_storm(order.id):
            self.happened(BadEvent.STORM)
        if event is BadEvent.CANCELLED:
            after_ms = self._minutes(_CANCELLED_AFTER_MIN, "cancelled", job)
            self._later(order.placed_ms + after_ms, partial(self._cancel, job))

    def event(self, job: str) -> BadEvent | None:
        """Return the event of a job's order."""
        return self.bad_day.of_order(self._orders[job].id)

    def happened(self, event: BadEvent) -> None:
        """Count an event that takes place."""
        self.ledger.happened[event] += 1

    def at_counter(self, job: str, shop: str) -> AtCounter:
        """Return what a driver finds at the counter now."""
        order, event = self._orders[job], self.event(job)
        parcels = parcels_there(None if job in self._found else event, order.parcels)
        if self.ledger.parcels[job].where is not Whereabouts.SHOP:
            parcels = 0  # another driver has them
        closed_until_ms = self._closed_until_ms(order.mall, shop, self._clock.now_ms())
        return AtCounter(parcels, self._ready_ms(job), closed_until_ms)

    def _ready_ms(self, job: str) -> int:
        """Return when the parcels really are at the counter."""
        is_late = self.event(job) is BadEvent.LATE
        late_ms = self._minutes(_LATE_MIN, "late", job) if is_late else 0
        return self._orders[job].ready_ms + late_ms

    def _closed_until_ms(self, mall: str, shop: str, at_ms: int) -> int:
        """Return when a shop that is closed at this time opens; 0: it is open."""
        closed_ms = self._closures.get((mall, shop))
        is_closed = closed_ms is not None and closed_ms <= at_ms < closed_ms + _HOUR_MS
        return closed_ms + _HOUR_MS if closed_ms is not None and is_closed else 0

    def _soonest_ms(self, job: str) -> int:
        """Return when a driver who waits at the counters could have delivered the order.

        It has the parcels the moment they are ready and the shops are open, and drives straight to
        the door from the nearest gate.
        """
        order, scenario = self._orders[job], self._scenario
        mall, ready_ms = scenario.places.mall(order.mall), self._ready_ms(job)
        shops = [mall.stores[shop] for shop in order.stores]
        opens_ms = max(self._closed_until_ms(order.mall, shop.id, ready_ms) for shop in shops)
        out_ms = max(ready_ms, opens_ms) + min(shop.walk_s for shop in shops) * 1000
        ways_s = [
            scenario.travel.seconds(gate.lat, gate.lon, order.lat, order.lon, out_ms)
            for gate in mall.gates.values()
        ]
        return out_ms + round(min(ways_s) * 1000) + scenario.service.door_ms

    def is_wrong_at_door(self, job: str) -> bool:
        """Return whether something is wrong at the customer's door, and nobody has answered yet."""
        return job not in self._at_home

    def reported_missing(self, job: str, shop: str) -> None:
        """Handle a report that parcels are missing; some shops find them later."""
        if self.ledger.parcels[job].where is Whereabouts.SHOP:
            self.ledger.absent(job)
        if self.event(job) is BadEvent.MISSING and self.bad_day.comes_right(job):
            after_ms = self._minutes(_FOUND_AFTER_MIN, "found", job)
            self._later(self._clock.now_ms() + after_ms, partial(self._find, job, shop))

    def reported_at_door(self, job: str) -> None:
        """Handle a report of a problem at the door; some customers answer."""
        if self.event(job) is not BadEvent.REFUSED and self.bad_day.comes_right(job):
            after_ms = self._minutes(_ANSWERED_AFTER_MIN, "answered", job)
            self._later(self._clock.now_ms() + after_ms, partial(self._answer, job))

    def _closures_of_the_day(self) -> Iterator[tuple[tuple[str, str], int]]:
        """Yield each shop that closes, with the time."""
        day, scenario = self.bad_day, self._scenario
        first, last = scenario.start_ms + 2 * _HOUR_MS, scenario.end_ms - 5 * _HOUR_MS
        for mall in sorted({order.mall for order in scenario.orders}):
            is_evacuated = day.is_evacuated(mall)
            if is_evacuated:
                self.happened(BadEvent.EVACUATED)
            evacuated_ms = round(day.between(first, last, "evacuated", mall))
            for shop in scenario.places.mall(mall).stores:
                if is_evacuated:
                    yield (mall, shop), evacuated_ms
                elif day.closes(f"{mall}/{shop}"):
                    self.happened(BadEvent.CLOSED_SHOP)
                    yield (mall, shop), round(day.between(first, last, "closed", mall, shop))

    async def _close(self, mall: str, shop: str, until_ms: int) -> None:
        await self._dispatcher.shops.set_hours(mall, shop, until_ms, f"store/{shop}")

    async def _find(self, job_id: str, shop: str) -> None:
        job = await self._store.jobs.get(job_id)
        if job.state in TERMINAL:
            return
        self._found.add(job_id)
        self.ledger.found(job_id)
        now_ms = self._clock.now_ms()
        try:
            await self._dispatcher.orders.ready(
                JobRef(job.id, job.mall),
                was=job,
                body=job.body,
                card=job.card,
                need=replace(job.need, ready_ms=now_ms),
                release_ms=now_ms,
                actor=f"store/{shop}",
                said=shop,
                is_ready=True,
            )
        except WrongState:
            return  # it was found before, and a driver has it by now

    async def _answer(self, job_id: str) -> None:
        job = await self._store.jobs.get(job_id)
        problem = next((it.id for it in job.problems if it.state == "open"), None)
        if problem is None:
            return
        try:
            await self._dispatcher.orders.answer(
                job, problem, action=AnswerAction.RETRY, text="ring again", actor=_SERVICE
            )
        except (Refused, WrongState):
            return
        self._at_home.add(job_id)

    async def _cancel(self, job_id: str) -> None:
        job = await self._store.jobs.get(job_id)
        try:
            await self._dispatcher.orders.cancel(
                JobRef(job.id, job.mall), _SERVICE, "customer", code=CancelReason.CUSTOMER, job=job
            )
        except WrongState:
            return
        self.happened(BadEvent.CANCELLED)

    def _later(self, at_ms: int, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def wait() -> None:
            await self._clock.until(at_ms)
            await act()

        self._tasks.append(asyncio.create_task(wait()))

    def _minutes(self, bounds: tuple[int, int], *names: object) -> int:
        return round(self.bad_day.between(*bounds, *names) * MINUTE_MS)
