"""A driver to whom bad events happen: a `ShiftDriver` that reads what it holds before each step.

Its jobs can be held, cancelled, sent back or given to another driver at any time. So it decides by
what the engine says that it holds now, as an app does after a `welcome`. Without a network it goes
on with what it has on board, keeps its reports, and sends them in order once it is back.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from mallard_engine.core.model import TRANSFER, Job
from mallard_engine.dispatch.step_commands import ProblemReport, StepReport
from mallard_engine.ports import JobRef, NoSuchJob, Push, PushKind, Refused
from mallard_engine.simulation.bad_day.orders import PICKUP_CODE
from mallard_engine.simulation.bad_day.people import People
from mallard_engine.simulation.scenario import MINUTE_MS, Trip
from mallard_engine.simulation.shift_driver import ShiftDriver
from mallard_engine.workload.bad_day.events import DOOR_PROBLEMS, BadEvent
from mallard_engine.workload.bad_day.ledger import Whereabouts
from mallard_protocol.lifecycle import ON_BOARD, JobState, Step, Wish
from mallard_protocol.messages import Proof

# How long a driver waits at a counter before it gives the job up.
_PATIENCE_MS: Final = 10 * MINUTE_MS
# How long it waits at a door for an answer, and by the road for another driver.
_DOOR_MS: Final = 10 * MINUTE_MS
_HELP_MS: Final = 70 * MINUTE_MS
_BASEMENT_MIN: Final = (4.0, 20.0)
_BLOCK_LEFT_MS: Final = 5 * MINUTE_MS
_WRONG_CODE: Final = "0000"
# A fix must be later than the beginning of the return.
_HERE_MS: Final = 1_000
# Deliveries and returns after one visit to a mall: a customer may call back during the return.
_MOST_ROUNDS: Final = 6


@dataclass(slots=True)
class _Visit:
    """What is known of the visit in which a job was collected, for its trip."""

    accepted_ms: int
    arrived_ms: int
    picked_up_ms: int
    run: str
    way_in_m: float


class BadDayDriver(ShiftDriver):
    """See the module. ``people``: the shops, customers and order service of the day."""

    def __init__(self, *args: Any, people: People) -> None:
        super().__init__(*args)
        self._people = people
        self._has_news = asyncio.Event()
        self._is_gone = False
        self._visits: dict[str, _Visit] = {}
        # Reports that wait for a network.
        self._unsent: list[Callable[[], Awaitable[object]]] | None = None
        # What it had on board when the network was lost.
        self._known: tuple[Job, ...] = ()
        # The highest attempt that the engine has answered with, by job.
        self._attempts: dict[str, int] = {}
        self._photos: dict[str, str] = {}
        # Jobs whose customer is to answer: delivered last.
        self._asked: set[str] = set()

    def receive(self, push: Push) -> None:
        """See `ShiftDriver.receive`. A changed job wakes a driver who waits."""
        super().receive(push)
        if push.kind is PushKind.JOB:
            self._has_news.set()

    async def _next_offer(self) -> Any:
        return None if self._is_gone else await super()._next_offer()

    async def _go_offline(self) -> None:
        with contextlib.suppress(Refused):  # it keeps what nobody has taken
            await super()._go_offline()

    async def _carry_out(self, run: list[Job]) -> None:
        self._runs += 1
        event = self._people.bad_day.of_run(self.shift.driver, self._runs)
        accepted_ms = dict.fromkeys([job.id for job in run], self._clock.now_ms())
        if run[0].kind == TRANSFER:
            await self._take_over(run[0])
        else:
            for job in run:
                self._people.ledger.sent(job.id, self.shift.driver)
            await self._visit_mall(run, accepted_ms, event)
        await self._leave_mall(event)
        for _ in range(_MOST_ROUNDS):
            await self._deliver_all()
            await self._regain_network()
            if not await self._mine():
                break
            await self._bring_back()

    # At the mall.

    async def _visit_mall(
        self, run: list[Job], accepted_ms: dict[str, int], event: BadEvent | None
    ) -> None:
        """Drive there and collect what is there, shop by shop."""
        mall = self._scenario.places.mall(run[0].mall)
        gate = mall.gates[self._tour(run).gate]
        before = len(run)
        way_in_m = await self._go(gate.lat, gate.lon, run, accepted_ms)
        for job in run[before:]:
            self._people.ledger.sent(job.id, self.shift.driver)
        arrived_ms = self._clock.now_ms()
        jobs = await self._mine(JobState.ASSIGNED, JobState.AT_MALL)
        for job in jobs:
            await self._send(job, Step.AT_MALL)
        if event is BadEvent.QUITS and jobs:
            await self._quit(jobs)
            return
        if event is BadEvent.BASEMENT and jobs:
            self._lose_network(BadEvent.BASEMENT)
        if not jobs:
            return
        tour = self._tour(list(jobs), gate.id)
        await self._clock.until(tour.done_ms(arrived_ms))
        if self._unsent is not None:
            minutes = self._people.bad_day.between(
                *_BASEMENT_MIN, "basement", self.shift.driver, self._runs
            )
            await self._clock.until(arrived_ms + round(minutes * MINUTE_MS))
        for job in jobs:
            self._visits[job.id] = _Visit(
                accepted_ms.get(job.id, arrived_ms),
                arrived_ms,
                self._clock.now_ms(),
                f"{self.shift.driver}/{self._runs}",
                way_in_m,
            )
            way_in_m = 0.0
            await self._collect(job)
        await self._clock.until(self._clock.now_ms() + tour.back_ms)
        if event is BadEvent.BASEMENT:
            await self._regain_network()

    async def _collect(self, job: Job) -> None:
        """Ask for one order's parcels at each of its shops."""
        people = self._people
        if not await self._shows(job):
            return
        for shop in job.need.stores:
            found = people.at_counter(job.id, shop)
            if found.closed_until_ms:
                await self._problem("store_closed", job, shop, found.closed_until_ms)
            elif found.ready_ms > self._clock.now_ms():
                await self._wait_at_counter(job, shop, found.ready_ms)
            elif not found.parcels:
                if people.event(job.id) is BadEvent.MISSING:
                    people.happened(BadEvent.MISSING)
                on_accepted = partial(people.reported_missing, job.id, shop)
                await self._problem("missing", job, shop, on_accepted=on_accepted)
            else:
                await self._take(job, shop, found.parcels)

    async def _wait_at_counter(self, job: Job, shop: str, ready_ms: int) -> None:
        self._people.happened(BadEvent.LATE)
        await self._problem("not_ready", job, shop, ready_ms)
        if ready_ms - self._clock.now_ms() > _PATIENCE_MS:
            await self._send(job, Step.GIVE_UP, reason="not ready")
            return
        await self._clock.until(ready_ms)
        if found := self._people.at_counter(job.id, shop).parcels:
            await self._take(job, shop, found)

    async def _take(self, job: Job, shop: str, parcels: int) -> None:
        """Take the parcels, and report their number."""
        people, event = self._people, self._people.event(job.id)
        if not await self._shows(job):
            return
        if event in {BadEvent.WRONG_CODE, BadEvent.SHORT}:
            people.happened(event)
        if event is BadEvent.WRONG_CODE:
            await self._send(job, Step.COLLECTED, shop, proof=Proof("code", _WRONG_CODE))
        people.ledger.collected(job.id, self.shift.driver)
        code = Proof("code", PICKUP_CODE) if event is BadEvent.WRONG_CODE else None
        await self._send(job, Step.COLLECTED, shop, parcels=parcels, proof=code)

    async def _quit(self, jobs: Sequence[Job]) -> None:
        self._people.happened(BadEvent.QUITS)
        for job in jobs:
            await self._send(job, Step.GIVE_UP, reason="I go home")
        self._is_gone = True

    async def _leave_mall(self, event: BadEvent | None) -> None:
        """Let happen what happens to a driver with parcels on board."""
        if not await self._mine(JobState.PICKED_UP):
            return
        if event is BadEvent.BREAKDOWN:
            await self._break_down()
        elif event is BadEvent.PHONE_DIES:
            self._known = await self._mine(JobState.PICKED_UP)
            self._lose_network(BadEvent.PHONE_DIES)
        elif event is BadEvent.BLOCK_ENDS:
            self._people.happened(BadEvent.BLOCK_ENDS)
            until_ms = self._clock.now_ms() + _BLOCK_LEFT_MS
            await self._dispatcher.drivers.status(
                self._scenario.market, self.shift.driver, Wish.AVAILABLE, until_ms
            )
            self._is_gone = True

    # On the road.

    async def _break_down(self) -> None:
        """Stand still until another driver has the parcels, or nobody has come."""
        self._people.happened(BadEvent.BREAKDOWN)
        self._is_gone = True
        await self._dispatcher.drivers.positions(self._scenario.market, [self.fix()])
        await self._dispatcher.steps.problem(
            self._scenario.market, ProblemReport(driver=self.shift.driver, kind="breakdown")
        )
        until_ms = self._clock.now_ms() + _HELP_MS
        while self._clock.now_ms() < until_ms and await self._mine():
            await self._wait_for_word(until_ms)

    async def _take_over(self, meeting: Job) -> None:
        """Meet a driver, and take its parcels by the code that its app shows."""
        place = self._scenario.places.mall(meeting.mall)
        await self._go(place.lat, place.lon, [meeting], {})
        if all(job.id != meeting.id for job in await self._mine()):
            return
        await self._send(meeting, Step.AT_MALL)
        shown = await self._store.jobs.get(meeting.id)
        carried = [await self._store.jobs.get(job) for job in shown.carries]
        there = [job for job in carried if job.driver == shown.first and job.state in ON_BOARD]
        if not await self._send(meeting, Step.PICKED_UP, proof=Proof("code", shown.code)):
            return
        for job in there:
            self._people.ledger.handed_over(job.id, shown.first, self.shift.driver)
            now_ms = self._clock.now_ms()
            run = f"{self.shift.driver}/{self._runs}"
            self._visits[job.id] = _Visit(now_ms, now_ms, now_ms, run, 0.0)

    async def _deliver_all(self) -> None:
        """Deliver what is on board; a customer who is to answer comes last."""
        while on_board := await self._on_board():
            on_board.sort(key=lambda it: (it.id in self._asked, it.eta_dropoff_ms or 0, it.id))
            await self._deliver(on_board[0])

    async def _on_board(self) -> list[Job]:
        """Return the jobs to deliver; without a network, what was taken on board."""
        if self._unsent is None:
            return list(await self._mine(JobState.PICKED_UP))
        mine = self._people.ledger.parcels
        jobs = [job for job in self._known if mine[job.id].where is Whereabouts.DRIVER]
        return [job for job in jobs if job.id not in self._asked]

    async def _deliver(self, job: Job) -> None:
        people, service, event = self._people, self._scenario.service, self._people.event(job.id)
        order = self._orders[job.id]
        way_out_m = await self._drive(order.lat, order.lon)
        if self._unsent is None and not await self._still(job):
            return
        await self._send(job, Step.AT_DOOR)
        await self._clock.until(self._clock.now_ms() + service.door_ms)
        if event is not None and event in DOOR_PROBLEMS and people.is_wrong_at_door(job.id):
            people.happened(event)
            if self._unsent is not None:
                self._asked.add(job.id)  # tried again once there is a network
                return
            await self._wait_at_door(job, DOOR_PROBLEMS[event])
            return
        at_ms = self._clock.now_ms()
        people.ledger.delivered(job.id, self.shift.driver, at_ms)
        await self._clock.until(at_ms + service.leave_ms)
        # An answer may have instructed the driver to leave it at the door, with a photo.
        await self._send(job, Step.DELIVERED, proof=await self._photo(job))
        visit = self._visits[job.id]
        times = visit.accepted_ms, visit.arrived_ms, visit.picked_up_ms, at_ms
        ways = visit.way_in_m, way_out_m
        self._done(Trip(order, self.shift.driver, *times, *ways, visit.run))

    async def _wait_at_door(self, job: Job, kind: str) -> None:
        """Report that nobody takes the parcels; wait until they go back, or an answer comes."""
        await self._problem(kind, job, on_accepted=partial(self._people.reported_at_door, job.id))
        until_ms = self._clock.now_ms() + _DOOR_MS
        while self._clock.now_ms() < until_ms and await self._still(job):
            if not self._people.is_wrong_at_door(job.id):
                return  # the next visit is at once: it is at the door
            await self._wait_for_word(until_ms)
        if await self._still(job):
            self._asked.add(job.id)
            await self._send(job, Step.RETURNING, reason=kind)

    async def _bring_back(self) -> None:
        """Bring back what goes back, to the place that the engine names."""
        for job in await self._mine(JobState.RETURNING):
            place = job.return_to
            if place is None:
                continue
            await self._drive(place.lat, place.lon)
            await self._clock.until(self._clock.now_ms() + _HERE_MS)
            if await self._send(job, Step.RETURNED, proof=await self._photo(job)):
                self._people.ledger.brought_back(job.id, self.shift.driver)

    async def _photo(self, job: Job) -> Proof:
        """Take a photo and upload it, once for each job."""
        photo = self._photos.get(job.id)
        if photo is None:
            market, driver = self._scenario.market, self.shift.driver
            photo = self._photos[job.id] = f"proof_{market}.{driver}-{len(self._photos)}"
            await self._store.proofs.add(market, driver, photo, media_type="image/png", size=1)
        return Proof("photo", photo)

    # Calls of the engine, and the network.

    async def _mine(self, *states: JobState) -> tuple[Job, ...]:
        """Return what the engine says that the driver holds, in these states or in any."""
        snapshot = await self._store.drivers.snapshot(self._scenario.market, self.shift.driver)
        return tuple(it for it in snapshot.jobs if not states or it.state in states)

    async def _shows(self, job: Job) -> bool:
        """Return whether the app shows the job as the driver's; without a network it does."""
        return self._unsent is not None or any(it.id == job.id for it in await self._mine())

    async def _still(self, job: Job) -> bool:
        """Return whether the job is still to be delivered by this driver."""
        return any(it.id == job.id for it in await self._mine(JobState.PICKED_UP))

    async def _wait_for_word(self, until_ms: int) -> None:
        self._has_news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(60.0, self._clock.seconds_to(until_ms))):
                await self._has_news.wait()

    def _lose_network(self, why: BadEvent) -> None:
        self._people.happened(why)
        self._unsent = []
        self.on_shift = False
        self._dispatcher.drivers.socket_closed(
            self._scenario.market, self.shift.driver, self._epoch
        )

    async def _regain_network(self) -> None:
        """Say hello, and send the reports that were kept."""
        if self._unsent is None:
            return
        unsent, self._unsent = self._unsent, None
        await self._hello()
        self.on_shift = True
        for report in unsent:
            await report()

    async def _send(
        self,
        job: Job,
        step: Step,
        store: str | None = None,
        *,
        parcels: int | None = None,
        proof: Proof | None = None,
        reason: str = "",
    ) -> bool:
        """Report a step, now or once there is a network; return False if it was refused."""
        at_ms = self._clock.now_ms()

        async def report() -> bool:
            await self._dispatcher.drivers.positions(self._scenario.market, [self.fix()])
            attempt = max(job.attempt, self._attempts.get(job.id, 0))
            report = StepReport(
                JobRef(job.id, job.mall),
                self.shift.driver,
                attempt,
                step,
                at_ms=at_ms,
                proof=proof,
                reason=reason,
                store=store,
                parcels=parcels,
            )
            try:
                answered = await self._dispatcher.steps.progress(report)
            except (Refused, NoSuchJob) as refused:
                self._people.refused[step.value, str(refused)] += 1
                return False
            self._attempts[job.id] = answered.attempt
            return True

        if self._unsent is None:
            return await report()
        self._unsent.append(report)
        return True

    async def _problem(
        self,
        kind: str,
        job: Job,
        store: str = "",
        until_ms: int | None = None,
        *,
        on_accepted: Callable[[], None] = lambda: None,
    ) -> None:
        """Report a problem, now or once there is a network; call `on_accepted` if it is taken."""
        at_ms = self._clock.now_ms()

        async def report() -> None:
            try:
                report = ProblemReport(
                    driver=self.shift.driver,
                    kind=kind,
                    mall=job.mall,
                    job=job.id,
                    store=store,
                    until_ms=until_ms,
                    attempt=max(job.attempt, self._attempts.get(job.id, 0)),
                    at_ms=at_ms,
                )
                await self._dispatcher.steps.problem(self._scenario.market, report)
            except (Refused, NoSuchJob) as refused:
                self._people.refused[kind, str(refused)] += 1
            else:
                on_accepted()

        if self._unsent is None:
            await report()
        else:
            self._unsent.append(report)
