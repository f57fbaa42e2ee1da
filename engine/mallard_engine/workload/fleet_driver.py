"""One driver of a fleet: the behaviour of a simulated driver on top of the real `DriverClient`."""

import asyncio
import base64
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from mallard_client.driver.client import DriverClient
from mallard_client.driver.events import Event, JobsChanged
from mallard_client.driver.state import HeldJob
from mallard_client.errors import ClientError, NoAnswer, RequestRefused
from mallard_client.tokens import TokenProvider
from mallard_engine.workload.behaviour import TO_COLLECT, USUAL_ANSWERS, Answer, AnswerShares
from mallard_engine.workload.fleet_tally import FleetTally
from mallard_engine.workload.road import Journey, Point, distance_m, heading_deg
from mallard_protocol.codes import ID_CHECK, AnswerAction
from mallard_protocol.lifecycle import JobState, Step, Wish
from mallard_protocol.messages import (
    Offer,
    ProblemKind,
    Proof,
    SocketTransfer,
    Vehicle,
    Welcome,
)

# The limit of the contract; simulated drivers may be faster.
_MAX_FIX_SPEED_MPS = 1_000.0
_ACCURACY_M = 8.0
_RETRY_ONLINE_S = 1.0
# How soon the engine begins a transfer after a breakdown, at the latest.
_HELP_IS_KNOWN_S = 10.0
_TRANSFER = "transfer"
_POLL_S = 0.2
_RETURN_TRIES = 5
# A PNG of one pixel.
_PHOTO = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)


@dataclass(frozen=True, slots=True)
class Habits:
    """The behaviour of a fleet's drivers; ranges of seconds are drawn from uniformly.

    Args:
        decline: Share of offers that are declined.
        lapse: Share of offers that are acknowledged and never answered.
        vanish: Share of offers upon which the socket closes, for `away_s`, before they are
            acknowledged.
        drop_every_s: Mean time between lost sockets that reconnect at once; 0: never.
        think_s: Time before an answer.
        breakdown: Share of the ways to a customer on which the car breaks down. Its driver reports
            it and waits until another one has the parcels, or nobody comes.
        dwell_s: Time at a mall for each job, and at a door.
    """

    speed_mps: float = 1_000.0
    report_every_ms: int = 1_000
    decline: float = USUAL_ANSWERS.decline
    lapse: float = USUAL_ANSWERS.lapse
    vanish: float = 0.02
    drop_every_s: float = 60.0
    think_s: tuple[float, float] = (0.1, 0.6)
    dwell_s: tuple[float, float] = (0.2, 0.5)
    away_s: tuple[float, float] = (3.0, 6.0)
    breakdown: float = 0.0

    @property
    def answers(self) -> AnswerShares:
        """The shares of answers to draw from."""
        return AnswerShares(self.decline, self.lapse, self.vanish)


class FleetDriver:
    """A driver that answers offers by its habits and carries out the jobs it holds."""

    def __init__(
        self,
        name: str,
        url: str | Sequence[str],
        token: str | TokenProvider,
        *,
        home: Point,
        habits: Habits,
        tally: FleetTally,
        rng: random.Random,
        subprotocol: str,
        vehicle: Vehicle | None = None,
    ) -> None:
        self.name = name
        self._home = home
        self._habits = habits
        self._tally = tally
        self._rng = rng
        self._journey = Journey(home, home, 0.0, 0.0)
        self._answers = habits.answers
        self._jobs_changed = asyncio.Event()
        # Held jobs with a refused step, which is not reported again.
        self._stuck: set[str] = set()
        self.client = DriverClient(
            url,
            token,
            vehicle=vehicle,
            subprotocol=subprotocol,
            auto_acknowledge=False,
            location_every_ms=habits.report_every_ms,
            rng=rng,
        )
        self.client.listen(self._on_event)

    async def run(self) -> None:
        """Work until cancelled; `Stopped` (in a group) if the engine forbids reconnecting."""
        self._send_fix()
        async with self.client:
            await self._go_online()
            async with asyncio.TaskGroup() as habits:
                habits.create_task(self._send_fixes())
                habits.create_task(self._answer_offers())
                habits.create_task(self._work())
                habits.create_task(self._lose_sockets())

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Welcome):
            self._tally.welcomes[self.name].append((event.server_time_ms, self.client.url))
        if isinstance(event, JobsChanged):
            self._tally.codes |= {it.id: it.code for it in map(_transfer, event.jobs) if it}
        self._jobs_changed.set()

    async def _go_online(self) -> None:
        while True:
            try:
                await self.client.status(Wish.AVAILABLE)
            except (NoAnswer, RequestRefused):
                await asyncio.sleep(_RETRY_ONLINE_S)
            else:
                return

    async def _send_fixes(self) -> None:
        while True:
            await asyncio.sleep(self._habits.report_every_ms / 1000)
            self._send_fix()

    async def _lose_sockets(self) -> None:
        while self._habits.drop_every_s > 0:
            await asyncio.sleep(self._rng.expovariate(1 / self._habits.drop_every_s))
            if self.client.connected:
                self._tally.counts["dropped"] += 1
                self.client.drop()

    async def _answer_offers(self) -> None:
        async for offer in self.client.offers():
            self._record(offer)
            answer = self._answers.draw(self._rng)
            if answer is Answer.VANISH:
                self._tally.counts["vanished"] += 1
                self.client.drop(self._rng.uniform(*self._habits.away_s))
                continue
            with contextlib.suppress(ClientError):  # lost with the socket; an answer implies it
                await self.client.acknowledge(offer)
            if answer is Answer.LAPSE:
                self._tally.counts["lapsed"] += 1
                continue
            await asyncio.sleep(self._rng.uniform(*self._habits.think_s))
            await self._answer(offer, accept=answer is Answer.ACCEPT)

    async def _answer(self, offer: Offer, *, accept: bool) -> None:
        try:
            if accept:
                await self.client.accept(offer)
            else:
                await self.client.decline(offer, "not today")
        except RequestRefused:
            self._tally.counts["too_late"] += 1
        except NoAnswer:
            self._tally.counts["unanswered"] += 1
        else:
            self._tally.counts["accepted" if accept else "declined"] += 1
            self._jobs_changed.set()

    async def _work(self) -> None:
        """Carry out the jobs that the client holds; without a job, drive home."""
        while True:
            self._jobs_changed.clear()
            jobs = self._jobs()
            to_collect = [job for job in jobs if job.state in TO_COLLECT]
            if to_collect:
                await self._collect(to_collect[0])
            elif jobs and self._breaks_down():
                await self._wait_for_help()
            elif jobs:
                # In the drop-off order of the run, where the engine has sent one.
                await self._hand_over(min(jobs, key=_dropoff_ms))
            else:
                self._depart(self._home)
                await self._jobs_changed.wait()

    def _jobs(self) -> list[HeldJob]:
        return [job for job in self.client.jobs.values() if job.job not in self._stuck]

    async def _collect(self, first: HeldJob) -> None:
        """Drive to the mall of this job and collect every job that is held there on arrival.

        The engine may add jobs on the way.
        """
        mall = first.detail.mall
        await self._drive((mall.gate_lat, mall.gate_lon))
        if first.detail.kind == _TRANSFER:
            await self._take_over(first)
            return
        run = [job for job in self._jobs() if job.detail.mall.id == mall.id]
        for job in run:
            if job.state in TO_COLLECT:
                await self._do(job.job, Step.AT_MALL)
        collected = 0
        for job in run:
            if job.state not in TO_COLLECT or job.job in self._stuck:
                continue
            await asyncio.sleep(self._rng.uniform(*self._habits.dwell_s))
            collected += await self._pick_up(job)
        self._tally.runs += collected > 0

    async def _pick_up(self, job: HeldJob) -> bool:
        """Collect one job, shop by shop if it has several; return whether it is on board."""
        shops = [visit.store for visit in job.detail.stores]
        if len(shops) == 1:
            is_on_board = await self._do(job.job, Step.PICKED_UP)
        else:
            is_on_board = all(
                [await self._do(job.job, Step.COLLECTED, store=shop) for shop in shops]
            )
        if is_on_board:
            self._has_collected(job.job)
        return is_on_board

    def _has_collected(self, job: str) -> None:
        self._tally.collected_by[job].append(self.name)

    def _breaks_down(self) -> bool:
        # Recorded days depend on the random numbers: none is drawn for cars that never break down.
        return self._habits.breakdown > 0 and self._rng.random() < self._habits.breakdown

    async def _wait_for_help(self) -> None:
        """Report a breakdown and stand still, until another driver has the parcels or none came."""
        self._tally.counts["broken_down"] += 1
        self._depart(self._journey.at(_now_s()))
        try:
            await self.client.problem("breakdown")
            async with asyncio.timeout(_HELP_IS_KNOWN_S):
                while not self._is_carried():
                    await self._job_change()
        except (TimeoutError, NoAnswer, RequestRefused):
            return
        while self._is_carried():
            await self._job_change()
        await self._go_online()

    def _is_carried(self) -> bool:
        return any(_transfer(job) for job in self._jobs())

    async def _job_change(self) -> None:
        self._jobs_changed.clear()
        await self._jobs_changed.wait()

    async def _take_over(self, meeting: HeldJob) -> None:
        """Take the parcels of a driver who is here over, by the code that its app shows."""
        await self._do(meeting.job, Step.AT_MALL)
        code = self._tally.codes.get(meeting.job)
        if code is None or meeting.job not in self.client.jobs:
            await self._do(meeting.job, Step.GIVE_UP)  # no driver of this fleet is here
            return
        before = set(self.client.jobs)
        if await self._do(meeting.job, Step.PICKED_UP, Proof("code", code)):
            self._tally.counts["taken_over"] += 1
            for job in self.client.jobs.keys() - before:
                self._tally.handed_on[job] += 1
                self._has_collected(job)

    async def _hand_over(self, job: HeldJob) -> None:
        dropoff = job.detail.dropoff
        await self._drive((dropoff.lat, dropoff.lon))
        await asyncio.sleep(self._rng.uniform(*self._habits.dwell_s))
        await self._deliver(job)

    async def _deliver(self, job: HeldJob) -> None:
        if await self._do(job.job, Step.DELIVERED, await self._proof_of(job)):
            self._tally.counts["delivered"] += 1
            self._tally.delivered_by[job.job].append(self.name)

    async def _proof_of(self, job: HeldJob) -> Proof | None:
        """Return what the delivery needs; orders here need one kind at most."""
        held = self.client.jobs.get(job.job, job).detail
        if ID_CHECK in held.requires:
            return Proof("age_checked")
        if held.answer and held.answer.action == AnswerAction.LEAVE:
            photo = await self._photo()
            return Proof("photo", photo) if photo else None
        return None

    async def _bring_back(self, job: HeldJob) -> bool:
        """Bring parcels back to the place that the engine names; return whether it is done."""
        place = job.detail.return_to
        if not place:
            await self._job_change()
            return False
        await self._drive((place.lat, place.lon))
        photo: str | None = None
        for _ in range(_RETURN_TRIES):
            # The fix from there must have come in.
            await asyncio.sleep(self._habits.report_every_ms / 1000 + _POLL_S)
            held = self.client.jobs.get(job.job)
            if held is None or held.state != JobState.RETURNING:
                return False  # a customer has answered
            photo = photo or await self._photo()
            if await self._ask(self.client.returned(job.job, photo=photo)):
                self._tally.counts["returned"] += 1
                return True
        self._stuck.add(job.job)
        return False

    def _has_on_board(self, job: str) -> bool:
        held = self.client.jobs.get(job)
        return held is not None and held.state == JobState.PICKED_UP

    async def _problem(
        self,
        kind: ProblemKind,
        job: HeldJob,
        store: str | None = None,
        until_ms: int | None = None,
    ) -> bool:
        if job.job not in self.client.jobs:
            return False
        return await self._ask(
            self.client.problem(kind, job=job.job, store=store, until_ms=until_ms)
        )

    async def _ask(self, request: Awaitable[object]) -> bool:
        """Wait for an answer and return whether the engine agreed."""
        try:
            await request
        except RequestRefused:
            self._tally.counts["refused"] += 1
            return False
        except ClientError:
            self._tally.counts["unanswered"] += 1
            return False
        return True

    async def _photo(self) -> str | None:
        """Take a photo and upload it; None if the engine does not answer."""
        try:
            return await self.client.upload_proof(_PHOTO)
        except ClientError:
            self._tally.counts["refused"] += 1
            return None

    async def _do(
        self, job: str, step: Step, proof: Proof | None = None, *, store: str | None = None
    ) -> bool:
        """Report a step and return whether the engine accepted it."""
        if job not in self.client.jobs:
            self._tally.counts["taken_away"] += 1
            return False
        try:
            await self.client.progress(job, step, proof=proof, store=store)
        except RequestRefused:
            self._tally.counts["refused"] += 1
            self._stuck.add(job)
            return False
        return True

    async def _drive(self, end: Point) -> None:
        self._depart(end)
        self._tally.driven_m += distance_m(self._journey.start, end)
        await asyncio.sleep(self._journey.arrives - _now_s())
        self._send_fix()

    def _depart(self, end: Point) -> None:
        here = self._journey.at(_now_s())
        self._journey = Journey.at_speed(here, end, _now_s(), self._habits.speed_mps)

    def _send_fix(self) -> None:
        now_s, journey = _now_s(), self._journey
        lat, lon = journey.at(now_s)
        moving = now_s < journey.arrives
        self.client.location(
            lat,
            lon,
            acc_m=_ACCURACY_M,
            heading_deg=heading_deg(journey.start, journey.end) if moving else None,
            speed_mps=min(self._habits.speed_mps, _MAX_FIX_SPEED_MPS) if moving else 0.0,
        )

    def _record(self, offer: Offer) -> None:
        self._tally.counts["offers"] += 1
        delay_ms = self.client.server_now_ms() - offer.server_time_ms
        self._tally.push_ms.append(max(0, delay_ms))
        for job in offer.jobs:
            self._tally.first_offer_s.setdefault(job.job, time.monotonic())


def _transfer(job: HeldJob) -> SocketTransfer | None:
    """Return the open transfer that carries a job."""
    return job.detail.transfer or None


def _dropoff_ms(job: HeldJob) -> float:
    return job.detail.eta.dropoff_ms or math.inf


def _now_s() -> float:
    return asyncio.get_running_loop().time()
