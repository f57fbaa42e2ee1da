"""A driver app without I/O: frames and timers go in, frames and new timers come out.

It knows the engine by the contract alone. Both load generators run it: locust in greenlets
(`load_tests.users.driver_app`), the swarm on callbacks (`load_tests.swarm.driver`). They connect,
reconnect, send the bytes and run the timers. One instance costs a few hundred bytes, a frame some
microseconds: the swarm holds thousands of them in a process that shares its machine with the
engine.
"""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from load_tests.credentials import DriverToken
from load_tests.drivers.recorder import EventKind, Recorder
from load_tests.frames import Frame, pack
from load_tests.measurements import Measure
from mallard_engine.workload.behaviour import (
    JOB_STEPS,
    STEPS_DONE,
    USUAL_ANSWERS,
    Answer,
    AnswerShares,
    Wander,
)
from mallard_engine.workload.road import Point

_ACCURACY_M: Final = 5.0
_RETRY_S: Final = 1.0
_PONG: Final = pack("pong")


@dataclass(frozen=True, slots=True)
class AppHabits:
    """How drivers answer and work. `hold_s`: from accepting a job to delivering it."""

    think_s: float = 0.5
    hold_s: float = 10.0
    answers: AnswerShares = USUAL_ANSWERS


class AppDriver(ABC):
    """One driver who wants to work.

    Args:
        home: The position (latitude, longitude) to start from and stay near.
        equipment: Carried besides the vehicle; jobs that require it are offered too.
    """

    __slots__ = (
        *("_asked", "_equipment", "_habits", "_held", "_lapsing", "_next_id", "_offers"),
        *("_offset_ms", "_recorder", "_rng", "_wander", "come_back_s", "is_online", "who"),
    )

    def __init__(
        self,
        who: DriverToken,
        home: Point,
        habits: AppHabits,
        rng: random.Random,
        recorder: Recorder,
        equipment: tuple[str, ...] = (),
    ) -> None:
        self.who = who
        self.is_online = False
        # When the engine asked the app to come back, as it drains.
        self.come_back_s: float | None = None
        self._habits = habits
        self._rng = rng
        self._recorder = recorder
        self._equipment = equipment
        self._wander = Wander(home, rng, time.monotonic())
        self._offset_ms = 0.0
        self._next_id = 0
        # By request id: its kind, when it was sent, what it is about.
        self._asked: dict[int, tuple[str, float, Any]] = {}
        self._offers: set[str] = set()  # open offers
        self._lapsing: dict[str, float] = {}  # offers that it will not answer, and their limits
        self._held: dict[str, int] = {}  # jobs, and their attempts

    # -- what a load generator supplies

    @abstractmethod
    def _send(self, payload: bytes) -> None:
        """Send a frame; it is lost if there is no connection."""

    @abstractmethod
    def _schedule(self, wait_s: float, action: Callable[..., None], *args: Any) -> None:
        """Call an action after `wait_s`."""

    # -- what a load generator calls

    @property
    def at(self) -> Point:
        """The current position."""
        return self._wander.at

    def hello(self) -> bytes:
        """Return the first frame of a connection."""
        lat, lon = self.at
        # A car with its usual room, as in simulated days.
        vehicle: dict[str, Any] = {"kind": "car"}
        if self._equipment:
            vehicle["equipment"] = self._equipment
        position = {"lat": lat, "lon": lon, "acc_m": _ACCURACY_M}
        return pack("hello", token=self.who.token, vehicle=vehicle, position=position)

    def send_fix(self, now_s: float) -> int:
        """Drive on, send a fix and return its time in the server's epoch ms."""
        wander = self._wander
        wander.drive_until(now_s)
        at_ms = round(now_s * 1000 + self._offset_ms)
        fix = [at_ms, *wander.at, _ACCURACY_M, wander.heading_deg, wander.speed_mps]
        self._send(pack("location", fixes=[fix]))
        return at_ms

    def lost(self) -> None:
        """Take the end of a connection; unanswered steps are reported again later."""
        self.is_online = False
        asked, self._asked = self._asked, {}
        for kind, _, about in asked.values():
            if kind == "progress":
                self._schedule(_RETRY_S, self._step, *about)
            elif kind == "decline":
                self._recorder.event(time.monotonic(), EventKind.WITHDRAWN, about)

    def handle(self, frame: Frame, now_s: float) -> None:
        """Take a frame of the engine."""
        match frame["type"]:
            case "reply" | "error":
                self._answered(frame, now_s)
            case "offer":
                for job in frame["jobs"]:
                    self._recorder.event(now_s, EventKind.OFFERED, job["job"])
                self._consider(frame, now_s)
            case "offer_closed":
                self._offer_closed(frame, now_s)
            case "job" if frame["state"] not in STEPS_DONE:
                self._held.pop(frame["job"], None)
            case "ping":
                self._send(_PONG)
            case "welcome":
                self._welcomed(frame, now_s)
            case "drain":
                self.come_back_s = now_s + frame["reconnect_after_ms"] / 1000

    # -- what the engine says

    def _welcomed(self, welcome: Frame, now_s: float) -> None:
        self._offset_ms = welcome["server_time_ms"] - time.monotonic() * 1000
        self.is_online = True
        self._offers.clear()
        for offer in self._lapsing:  # the welcome repeats an open offer, which is answered anew
            self._recorder.event(now_s, EventKind.WITHDRAWN, offer)
        self._lapsing.clear()
        known, self._held = self._held, {}
        for job in welcome["jobs"]:
            if job["job"] in known:  # its timer is still running
                self._held[job["job"]] = job["attempt"]
            else:
                self._take_on(job)
        if welcome["offer"]:
            self._consider(welcome["offer"], now_s)
        if welcome["state"] in {"offline", "paused"}:
            self._ask("status", None, state="available")

    def _offer_closed(self, frame: Frame, now_s: float) -> None:
        offer = frame["offer"]
        self._offers.discard(offer)
        limit_s = self._lapsing.pop(offer, None)
        self._recorder.count(f"offer closed: {frame['why']}")
        if frame["why"] != "expired":
            self._recorder.event(now_s, EventKind.WITHDRAWN, offer)
        elif limit_s is not None:
            # The driver knows the limit only to within the delay of the offer's frame.
            self._recorder.sample(Measure.EXPIRY, limit_s, max(limit_s, now_s))

    def _consider(self, offer: Frame, now_s: float) -> None:
        """Acknowledge an offer, and answer it by habit or let it lapse."""
        name = offer["offer"]
        self._send(pack("offer_ack", offer=name))
        if name in self._offers:
            return
        self._offers.add(name)
        self._recorder.count("offers")
        jobs = [job["job"] for job in offer["jobs"]]
        match self._habits.answers.draw(self._rng):
            case Answer.LAPSE:
                limit_s = now_s + (offer["expires_ms"] - offer["server_time_ms"]) / 1000
                self._lapsing[name] = limit_s
                self._recorder.event(now_s, EventKind.LEFT_OPEN, name, jobs, limit_s)
            case Answer.DECLINE:
                self._schedule(self._habits.think_s, self._decline, name, jobs)
            case _:
                self._schedule(self._habits.think_s, self._accept, name)

    def _answered(self, frame: Frame, now_s: float) -> None:
        asked = self._asked.pop(frame["id"] or 0, None)
        if asked is None:
            self._recorder.count(f"error: {frame.get('code')}")
            return
        kind, sent_s, about = asked
        code = frame["code"] if frame["type"] == "error" else None
        match kind:
            case "accept":
                self._offers.discard(about)
                if code:
                    self._recorder.failure(Measure.ACCEPT, sent_s, code)
                    return
                self._recorder.sample(Measure.ACCEPT, sent_s, now_s)
                for job in frame["jobs"]:
                    self._take_on(job)
            case "decline":
                self._offers.discard(about)
                if code:
                    self._recorder.count(f"decline: {code}")
                    self._recorder.event(now_s, EventKind.WITHDRAWN, about)
            case "progress":
                job, done = about
                self._step_answered(job, done, sent_s, now_s, code)
            case _ if code:
                self._recorder.count(f"{kind}: {code}")

    # -- what the driver does

    def _accept(self, offer: str) -> None:
        if offer in self._offers:
            self._ask("accept", offer, offer=offer)

    def _decline(self, offer: str, jobs: list[str]) -> None:
        if offer in self._offers:
            # Recorded first: the next driver's offer may come before the reply.
            self._recorder.event(time.monotonic(), EventKind.DECLINED, offer, jobs)
            self._ask("decline", offer, offer=offer)

    def _take_on(self, job: Frame) -> None:
        done = STEPS_DONE.get(job["state"])
        if done is not None and job["job"] not in self._held:
            self._held[job["job"]] = job["attempt"]
            self._schedule_step(job["job"], done)

    def _schedule_step(self, job: str, done: int) -> None:
        self._schedule(self._habits.hold_s / len(JOB_STEPS), self._step, job, done)

    def _step(self, job: str, done: int) -> None:
        """Report a step, unless the job was taken away; while offline, try again later."""
        if job not in self._held:
            return
        if not self.is_online:
            self._schedule(_RETRY_S, self._step, job, done)
            return
        step = JOB_STEPS[done].value
        self._ask("progress", (job, done), job=job, attempt=self._held[job], step=step)

    def _step_answered(
        self, job: str, done: int, sent_s: float, now_s: float, code: str | None
    ) -> None:
        if code:
            self._held.pop(job, None)
            self._recorder.failure(Measure.PROGRESS, sent_s, code)
            return
        self._recorder.sample(Measure.PROGRESS, sent_s, now_s)
        if done + 1 < len(JOB_STEPS):
            self._schedule_step(job, done + 1)
        else:
            self._held.pop(job, None)
            self._recorder.count("delivered")

    def _ask(self, kind: str, about: Any, /, **fields: Any) -> None:
        self._next_id += 1
        self._asked[self._next_id] = (kind, time.monotonic(), about)
        self._send(pack(kind, id=self._next_id, **fields))
