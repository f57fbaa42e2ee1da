"""A driver of a fleet to whom bad events happen, on top of the real `DriverClient`."""

import asyncio
import time
from typing import Any, Final

from mallard_client.driver.state import HeldJob
from mallard_engine.workload.bad_day.events import DOOR_PROBLEMS, BadEvent
from mallard_engine.workload.bad_day.fleet_people import PICKUP_CODE, FleetPeople
from mallard_engine.workload.bad_day.ledger import Whereabouts
from mallard_engine.workload.fleet_driver import FleetDriver
from mallard_protocol.lifecycle import JobState, Step, Wish
from mallard_protocol.messages import Offer, Proof

_TRANSFER: Final = "transfer"
_LATE_MS: Final = 2_000
_SILENCE_S: Final = (4.0, 10.0)
_GONE_S: Final = 8.0
_BLOCK_LEFT_MS: Final = 500
_DOOR_S: Final = 12.0
_POLL_S: Final = 0.2
_WRONG_CODE: Final = "0000"


class BadDayFleetDriver(FleetDriver):
    """See the module. ``people``: the shops, customers and order service of the day."""

    def __init__(self, *args: Any, people: FleetPeople, **options: Any) -> None:
        super().__init__(*args, **options)
        self._people = people
        self._runs = 0
        self._event: BadEvent | None = None
        self._block_is_over = False

    async def _answer(self, offer: Offer, *, accept: bool) -> None:
        await super()._answer(offer, accept=accept)
        for short in offer.jobs:
            held = self.client.jobs.get(short.job)
            if accept and held is not None and held.detail.kind != _TRANSFER:
                self._people.know(held.job, _order(held))
                self._people.ledger.sent(held.job, self.name)

    async def _collect(self, first: HeldJob) -> None:
        if first.detail.kind != _TRANSFER:
            self._runs += 1
            self._event = self._people.bad_day.of_run(self.name, self._runs)
        await super()._collect(first)
        if self._event is BadEvent.QUITS:
            await self._go_home()
        on_board = any(job.state == JobState.PICKED_UP for job in self._jobs())
        if on_board and self._event is BadEvent.PHONE_DIES:
            self._lose_network(BadEvent.PHONE_DIES)
        elif on_board and self._event is BadEvent.BLOCK_ENDS:
            self._take(BadEvent.BLOCK_ENDS)
            self._block_is_over = True
            until_ms = _now_ms() + _BLOCK_LEFT_MS
            await self._ask(self.client.status(Wish.AVAILABLE, until_ms=until_ms))

    async def _pick_up(self, job: HeldJob) -> bool:
        """Ask for one order's parcels at its shop, and report what is there."""
        await self._ask_for(job)
        return self._tally.collected_by[job.job][-1:] == [self.name]

    async def _ask_for(self, job: HeldJob) -> None:
        people, order, mall = self._people, _order(job), job.detail.mall.id
        people.know(job.job, order)
        if self._event is BadEvent.QUITS:
            await self._do(job.job, Step.GIVE_UP)
            return
        if self._event is BadEvent.BASEMENT:
            self._lose_network(BadEvent.BASEMENT)
        event = people.event(order)
        for shop in job.detail.stores:
            closed_s = people.closed_for_s(mall, shop.store)
            if closed_s:
                until_ms = _now_ms() + round(closed_s * 1000)
                await self._problem("store_closed", job, shop.store, until_ms)
                continue
            if event is BadEvent.LATE:
                people.happened(event)
                until_ms = _now_ms() + _LATE_MS
                await self._problem("not_ready", job, shop.store, until_ms)
                await asyncio.sleep(_LATE_MS / 1000)
            parcels = people.parcels(job.job, order, shop.parcels)
            if parcels:
                await self._take_parcels(job, shop.store, parcels)
            elif await self._problem("missing", job, shop.store):
                people.happened(BadEvent.MISSING)
                people.reported_missing(job.job, order, shop.store)

    async def _take_parcels(self, job: HeldJob, store: str, parcels: int) -> None:
        event = self._people.event(_order(job))
        if event in {BadEvent.WRONG_CODE, BadEvent.SHORT}:
            self._people.happened(event)
        if event is BadEvent.WRONG_CODE and job.job in self.client.jobs:
            wrong = Proof("code", _WRONG_CODE)
            await self._ask(self.client.collected(job.job, store, proof=wrong))
        if job.job not in self.client.jobs:
            self._tally.counts["taken_away"] += 1
            return
        code = Proof("code", PICKUP_CODE) if event is BadEvent.WRONG_CODE else None
        if await self._ask(self.client.collected(job.job, store, parcels, proof=code)):
            self._has_collected(job.job)
        else:
            self._stuck.add(job.job)

    def _has_collected(self, job: str) -> None:
        super()._has_collected(job)
        ledger = self._people.ledger
        parcels = ledger.parcels[job]
        if parcels.where is Whereabouts.DRIVER:
            ledger.handed_over(job, parcels.handled[-1], self.name)
        else:
            ledger.collected(job, self.name)

    def _breaks_down(self) -> bool:
        return self._take(BadEvent.BREAKDOWN)

    async def _hand_over(self, job: HeldJob) -> None:
        if job.state == JobState.RETURNING:
            await self._bring_back(job)
        else:
            await super()._hand_over(job)
        if self._block_is_over and not self._jobs():
            self._block_is_over = False
            await self._go_online()

    async def _deliver(self, job: HeldJob) -> None:
        people, event = self._people, self._people.event(_order(job))
        if job.job in self.client.jobs:
            await self._ask(self.client.at_door(job.job))
        if event is not None and event in DOOR_PROBLEMS and people.is_wrong_at_door(job.job):
            await self._wait_at_door(job, event)
            return
        delivered = self._tally.counts["delivered"]
        await super()._deliver(job)
        if self._tally.counts["delivered"] > delivered:
            people.ledger.delivered(job.job, self.name, 1)

    async def _wait_at_door(self, job: HeldJob, event: BadEvent) -> None:
        """Report that nobody takes the parcels; wait until they go back, or an answer comes."""
        people = self._people
        people.happened(event)
        if await self._problem(DOOR_PROBLEMS[event], job):
            people.reported_at_door(job.job, _order(job))
        until_s = time.monotonic() + _DOOR_S
        while time.monotonic() < until_s and self._has_on_board(job.job):
            if not people.is_wrong_at_door(job.job):
                return
            await asyncio.sleep(_POLL_S)
        if self._has_on_board(job.job):
            await self._ask(self.client.returning(job.job, event.value))

    async def _bring_back(self, job: HeldJob) -> bool:
        is_back = await super()._bring_back(job)
        if is_back:
            self._people.ledger.brought_back(job.job, self.name)
        return is_back

    async def _go_home(self) -> None:
        """Pause after giving up every job."""
        if self._take(BadEvent.QUITS):
            await self._ask(self.client.status(Wish.PAUSED))
            await asyncio.sleep(_GONE_S)
            await self._go_online()

    def _lose_network(self, why: BadEvent) -> None:
        if self._take(why):
            self.client.drop(self._rng.uniform(*_SILENCE_S))

    def _take(self, event: BadEvent) -> bool:
        """Return whether this run has the event, which then takes place once."""
        if self._event is not event:
            return False
        self._event = None
        self._people.happened(event)
        return True


def _order(job: HeldJob) -> str:
    return str(job.detail.external_id)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
