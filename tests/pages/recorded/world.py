"""A market in the contract's own resources: what its lists say, and the events that change them.

Deterministic: the same figures and seed make the same jobs, drivers and events. Nothing here reads
a clock: times count from `start_ms`. The market is the engine's `phoenix`, so malls, gates and
shops are real; jobs and drivers are made up, from the structs that the engine encodes.
"""

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec.structs import asdict, replace

from mallard_engine.core.places.markets import Places
from mallard_engine.gateway.http.views.places import market_view
from mallard_engine.gateway.timestamps import Moment
from mallard_protocol.control import AlertView
from mallard_protocol.events import MOVED_EVERY_S, Event
from mallard_protocol.lifecycle import TERMINAL
from mallard_protocol.messages import Barred
from mallard_protocol.resources import (
    DriverView,
    DropoffView,
    Eta,
    Held,
    Job,
    Market,
    ParcelsView,
    PayView,
    PickupView,
    ReportedProblem,
    ShopView,
    TimelineEntry,
    VehicleView,
)

MARKET: Final = "phoenix"
_S: Final = 1000
_MINUTE: Final = 60 * _S
_METRES_A_DEGREE: Final = 111_320.0
_WAY: Final = ("queued", "offered", "assigned", "at_mall", "picked_up", "delivered")
_EVENT_OF: Final = {
    "queued": "job.created",
    "at_mall": "job.arrived",
} | {state: f"job.{state}" for state in ("offered", "assigned", "picked_up", "delivered")}
# How long a job is in each state, and so how many of the open ones are in it.
_STAY_S: Final = {"queued": 150, "offered": 20, "assigned": 240, "at_mall": 180, "picked_up": 600}
_STREETS: Final = ("Palm Lane", "Ocotillo Road", "Camelback Road", "Elm Street", "Mill Avenue")
_FIRST: Final = ("Ana", "Ben", "Chloe", "Dev", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jun")
_LAST: Final = ("Ito", "Smith", "Garcia", "Okafor", "Nguyen", "Rossi", "Novak", "Larsen")
# Where it is not the state itself.
_CAUSES: Final = {"queued": "submitted", "assigned": "accepted", "at_mall": "arrived"}
_MOST_JOBS: Final = 2


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is. `moves_every_s`: between two positions of a driver in the events."""

    drivers: int
    jobs: int
    moves_every_s: float = MOVED_EVERY_S


BUSY: Final = Size(drivers=2_000, jobs=3_000)
"""The busiest market that the console must stay quick in."""
SMALL: Final = Size(drivers=24, jobs=40)
"""Enough for a picture of each page."""


@dataclass(slots=True)
class _Path:
    """A driver's way: round and round a point, at the speed of a car in a town."""

    lat: float
    lon: float
    radius_m: float
    phase: float

    def at(self, seconds: float) -> tuple[float, float]:
        angle = self.phase + 9.0 * seconds / self.radius_m
        lat = self.lat + self.radius_m * math.sin(angle) / _METRES_A_DEGREE
        width = _METRES_A_DEGREE * math.cos(math.radians(self.lat))
        return round(lat, 6), round(self.lon + self.radius_m * math.cos(angle) / width, 6)


class World:
    """Jobs, drivers and alerts of one market as they are at `now_ms`."""

    def __init__(self, size: Size, start_ms: int, seed: int = 20) -> None:
        self._random = random.Random(seed)  # made-up orders, no secret
        self._size = size
        self.start_ms = self.now_ms = start_ms
        self.market: Market = market_view(Places.load().market(MARKET), {}, start_ms)
        self.jobs: dict[str, Job] = {}
        self.alerts: dict[str, AlertView] = {}
        self._sequence = 1
        self._made = 0
        # (when, its order, the id of a job or a driver): what happens next.
        self._next: list[tuple[int, int, str]] = []
        self._paths: dict[str, _Path] = {}
        self._held: dict[str, list[str]] = {}
        for number in range(size.drivers):
            self._add_driver(f"driver-{number:04d}")
        for _ in range(size.jobs):
            self._add_job(self._random_state(), age_s=self._random.uniform(30, 900))
        for job in list(self.jobs.values()):
            self._trouble(job)

    def advance(self, to_ms: int) -> list[Event]:
        """Return the events up to a time, and be there."""
        events: list[Event] = []
        while self._next and self._next[0][0] <= to_ms:
            self.now_ms, _, name = heapq.heappop(self._next)
            events.extend(self._step(name) if name in self.jobs else self._move(name))
        self.now_ms = to_ms
        return events

    def driver(self, name: str) -> DriverView:
        """Return a driver as it is now."""
        number = int(name.rpartition("-")[2])
        jobs = tuple(self._held[name])
        is_gone = number % 97 == 5  # one in a hundred has no line
        at_ms = self.now_ms - (200 * _S if is_gone else number % 20 * 100)
        lat, lon = self._paths[name].at((at_ms - self.start_ms) / _S)
        state = "on_run" if jobs else ("paused" if number % 11 == 0 else "available")
        return DriverView(
            driver=name,
            state=state,
            lat=lat,
            lon=lon,
            at_ms=at_ms,
            jobs=jobs,
            barred=Barred("paused") if state == "paused" else None,
            connected=not is_gone,
            vehicle=VehicleView(("car", "bike", "van")[number % 3], 3, 40_000, 200.0, ()),
            last_seen=Moment.at_ms(at_ms),
        )

    def drivers(self) -> Iterator[DriverView]:
        """Return all drivers as they are now."""
        return map(self.driver, self._paths)

    def open_jobs(self) -> list[Job]:
        """Return the jobs that have not ended, newest first, as lists show them."""
        return [job for job in reversed(self.jobs.values()) if not job.terminal]

    # What there is at first.

    def _add_driver(self, name: str) -> None:
        mall = self._random.choice(self.market.malls)
        far = self._random.uniform(300, 6_000)
        self._paths[name] = _Path(mall.lat, mall.lon, far, self._random.uniform(0, math.tau))
        self._held[name] = []
        self._after(self._random.uniform(0, self._size.moves_every_s), name)

    def _add_job(self, state: str, age_s: float = 0) -> Job:
        self._made += 1
        draw, number = self._random, self._made
        mall = draw.choice(self.market.malls)
        shops = draw.sample(mall.stores, min(len(mall.stores), draw.choice((1, 1, 1, 2))))
        created_ms = self.now_ms - int(age_s * _S)
        due_ms = created_ms + draw.randrange(35, 120) * _MINUTE
        place = _Path(mall.lat, mall.lon, draw.uniform(500, 7_000), draw.uniform(0, math.tau))
        lat, lon = place.at(0)
        job = Job(
            id=f"job_{MARKET}_{number:08d}",
            market=MARKET,
            state="queued",
            terminal=False,
            attempt=1,
            driver=None,
            reason=None,
            created_at=Moment.at_ms(created_ms),
            updated_at=Moment.at_ms(created_ms),
            expires_at=Moment.at_ms(due_ms),
            eta=Eta(
                Moment.at_ms(created_ms + 12 * _MINUTE), Moment.at_ms(created_ms + 30 * _MINUTE)
            ),
            timeline=(_entry("queued", created_ms),),
            pickup=PickupView(
                mall.id,
                tuple(ShopView(it.id, parcels=draw.randint(1, 3)) for it in shops),
                Moment.at_ms(due_ms),
            ),
            dropoff=DropoffView(
                lat,
                lon,
                address=f"{draw.randrange(1, 900)} {draw.choice(_STREETS)}",
                name=f"{draw.choice(_FIRST)} {draw.choice(_LAST)}",
                contact=f"+1 602 555 {number % 10_000:04d}",
                note=draw.choice(("Ring twice", "Leave it with the neighbour", "Second floor")),
                deadline=Moment.at_ms(due_ms),
            ),
            parcels=ParcelsView(draw.randint(1, 4), 1_500, 6.0),
            requires=(),
            priority=0,
            external_id=f"ORD-{40_000 + number}",
            pay=PayView(1_150, "USD"),
            metadata={"channel": "app"},
            service_level=draw.choice(("express", "pooled", "same_day")),
            risk="none",
        )
        self.jobs[job.id] = job
        for step, reached in enumerate(_WAY[1 : _WAY.index(state) + 1], 1):
            job = self._reach(job, reached, created_ms + int(age_s * _S * step / len(_WAY)))
        self._after(draw.uniform(0, 2) * _STAY_S[job.state], job.id)
        return job

    def _random_state(self) -> str:
        (state,) = self._random.choices(list(_STAY_S), list(_STAY_S.values()))
        return state

    def _trouble(self, job: Job) -> None:
        """Let some jobs be late, held, refused or the subject of an alert, spread over all."""
        chance = int(job.id[-8:]) * 29 % 100
        if chance < 3:  # each line its share in a hundred
            job = replace(job, risk="late")
        elif chance < 8:
            job = replace(job, risk="at_risk")
        elif chance < 20 and job.state == "queued":
            held = Held("missing", "store", job.pickup.stores[0].store, job.expires_at)
            job = replace(job, state="scheduled", held=held)
        elif chance < 12 and job.state == "picked_up":
            at = Moment.at_ms(self.now_ms - 90 * _S)
            until = Moment.at_ms(self.now_ms + 4 * _MINUTE)
            asked = ReportedProblem("prb_1", "customer_unreachable", "No answer", at, until, "open")
            job = replace(job, problems=(asked,))
        elif chance < 16 and job.state == "picked_up":
            job = replace(job, state="returning", reason="refused")
        elif chance == 25:
            alert = f"alt_{job.id[-8:]}"
            what = ("accident", "driver_silent")[self._made % 2]
            at = Moment.at_ms(self.now_ms - 3 * _MINUTE)
            self.alerts[alert] = AlertView(
                alert, MARKET, what, "open", at, job.id, job.driver or "driver-0001"
            )
        self.jobs[job.id] = job

    # What happens.

    def _step(self, name: str) -> Iterator[Event]:
        job = self.jobs[name]
        if job.state not in _STAY_S:
            return
        reached = _WAY[_WAY.index(job.state) + 1]
        job = self._reach(job, reached, self.now_ms)
        yield self._event(_EVENT_OF[reached], job)
        if not job.terminal:
            self._after(self._random.uniform(0, 2) * _STAY_S[job.state], job.id)
            return
        del self.jobs[name]
        yield self._event("job.created", self._add_job("queued"))

    def _reach(self, job: Job, state: str, at_ms: int) -> Job:
        driver = job.driver or self._free_driver()
        held = self._held[driver]
        if state == "assigned" and job.id not in held:
            held.append(job.id)
        if state in TERMINAL and job.id in held:
            held.remove(job.id)
        job = replace(
            job,
            state=state,
            terminal=state in TERMINAL,
            driver=driver,
            updated_at=Moment.at_ms(at_ms),
            timeline=(*job.timeline, _entry(state, at_ms, driver)),
        )
        self.jobs[job.id] = job
        return job

    def _free_driver(self) -> str:
        names = list(self._paths)
        for _ in range(8):
            name = self._random.choice(names)
            if len(self._held[name]) < _MOST_JOBS:
                break
        return name

    def _move(self, name: str) -> Iterator[Event]:
        self._after(self._size.moves_every_s, name)
        driver = self.driver(name)
        if not driver.connected:
            return
        # A driver without a job moves all the same: only the list of drivers says so.
        for held in driver.jobs[:1]:
            job = self.jobs[held]
            data = {"lat": driver.lat, "lon": driver.lon, "heading_deg": None, "eta": job.eta}
            at = Moment.at_ms(self.now_ms)
            yield self._wrap("job.driver_moved", data | {"at": at}, job.id, name)

    def _after(self, seconds: float, name: str) -> None:
        heapq.heappush(self._next, (self.now_ms + int(seconds * _S), len(self._next), name))

    def _event(self, kind: str, job: Job) -> Event:
        data = {key: value for key, value in asdict(job).items() if value is not msgspec.UNSET}
        del data["timeline"]
        data |= {"cause": _CAUSES.get(job.state, job.state), "actor": job.driver or "orders"}
        return self._wrap(kind, data, job.id, job.driver)

    def _wrap(self, kind: str, data: dict[str, Any], job: str, driver: str | None) -> Event:
        self._sequence += 1
        at = Moment.at_ms(self.now_ms)
        return Event(
            id=f"evt_{MARKET}.{self._sequence}-0",
            sequence=self._sequence,
            type=kind,
            occurred_at=at,
            recorded_at=at,
            market=MARKET,
            data=data,
            job=job,
            driver=driver or msgspec.UNSET,
        )


def _entry(state: str, at_ms: int, actor: str = "orders") -> TimelineEntry:
    at = Moment.at_ms(at_ms)
    return TimelineEntry(state, at, actor, _CAUSES.get(state, state), at)
