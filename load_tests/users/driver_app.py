"""One driver's phone: it knows the engine by the contract alone.

It says hello, answers offers by its habits, works off what it accepted, and comes back when it
loses its socket. Everything that it does by itself runs in greenlets that end with `stop`.
"""

import contextlib
import math
import random
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.pool import Group

from load_tests.credentials import DriverToken
from load_tests.frames import Frame, pack
from load_tests.measurements import Measure, Report
from load_tests.places import Point, moved
from load_tests.users.driver_socket import Closed, DriverSocket, Offline
from load_tests.users.offer_ledger import Ledger
from load_tests.users.options import Habits
from mallard_client.backoff import FullJitter, may_reconnect

_SPEED_MPS: Final = 8.0
_STRAYS_DEG: Final = 0.02
_STEPS: Final = ("at_mall", "picked_up", "delivered")
# How many steps are done in each state of a job that a driver holds.
_STEPS_DONE: Final = {"assigned": 0, "at_mall": 1, "picked_up": 2}


class TurnedAway(Exception):
    """The engine closed the socket, and trying again cannot help."""


class DriverApp:
    """A driver that wants to work.

    `socket_url(n)` is the nth node's socket, in turn; `node` the one to begin with. A driver with
    a `team` has it as equipment, and is offered the jobs that require it besides all others.
    """

    def __init__(
        self,
        who: DriverToken,
        home: Point,
        *,
        socket_url: Callable[[int], str],
        node: int,
        habits: Habits,
        team: str | None,
        ledger: Ledger,
        report: Report,
        dice: random.Random,
    ) -> None:
        self.who = who
        self.at = home
        self.location_s = 4.0
        self.turned_away: TurnedAway | None = None
        self.online = Event()
        self.offline_since_s = time.monotonic()
        self._home = home
        self._socket_url = socket_url
        self._node = node
        self._habits = habits
        self._team = team
        self._ledger = ledger
        self._report = report
        self._dice = dice
        self._heading = dice.uniform(0, math.tau)
        self._moved_s = time.monotonic()
        self._clock_offset_ms = 0.0
        self._come_back_s: float | None = None
        self._offers: set[str] = set()  # what is on its screen
        self._held: set[str] = set()
        self._socket = DriverSocket()
        self._greenlets = Group()

    def start(self) -> None:
        """Connect, and stay connected."""
        self._greenlets.spawn(self._live)

    def stop(self) -> None:
        """Hang up, and do nothing more."""
        self._socket.hang_up()
        self._greenlets.kill()

    def lose_socket(self) -> None:
        """Lose the connection, as in a tunnel; the app comes back by itself."""
        self._socket.lose()

    def send_position(self) -> int:
        """Drive on a little and send a fix; returns its time, in the server's epoch ms."""
        now_s = time.monotonic()
        self._drive(now_s - self._moved_s)
        self._moved_s = now_s
        at_ms = round(now_s * 1000 + self._clock_offset_ms)
        heading_deg = math.degrees(self._heading) % 360
        self._socket.send("location", fixes=[[at_ms, *self.at, 5.0, heading_deg, _SPEED_MPS]])
        return at_ms

    # -- being connected

    def _live(self) -> None:
        jitter = FullJitter(self._dice)
        due_s: float | None = None  # the first connection is measured only if it takes a second try
        while True:
            code = self._session(due_s)
            if self.online.is_set():
                self.online.clear()
                self.offline_since_s = time.monotonic()
                jitter.reset()
                due_s = None
            if not may_reconnect(code):
                self.turned_away = TurnedAway(f"closed with {code}")
                self._report(Measure.RECONNECT, 0.0, self.turned_away)
                return
            self._node += 1  # another node may be up when this one is not
            come_back_s = self._come_back_s or time.monotonic() + jitter.next_s()
            self._come_back_s = None
            due_s = due_s or come_back_s
            gevent.sleep(max(0.0, come_back_s - time.monotonic()))

    def _session(self, due_s: float | None) -> int:
        """Connect and read until the socket ends; returns its close code."""
        self._socket = DriverSocket()
        try:
            welcome = self._socket.open(self._socket_url(self._node), self._hello())
            if due_s is not None:
                self._report(Measure.RECONNECT, time.monotonic() - due_s, None)
            self._welcome(welcome)
            while True:
                self._handle(self._socket.read())
        except Closed as closed:
            return closed.code
        finally:
            self._socket.let_go()
            self._offers.clear()

    def _hello(self) -> bytes:
        lat, lon = self.at
        vehicle = {
            "kind": "car",
            "max_jobs": 1,
            "max_weight_g": 60_000,
            "max_volume_l": 300,
            "equipment": [self._team] if self._team else [],
        }
        position = {"lat": lat, "lon": lon, "acc_m": 5.0}
        return pack("hello", token=self.who.token, vehicle=vehicle, position=position)

    def _welcome(self, welcome: Frame) -> None:
        self._clock_offset_ms = welcome["server_time_ms"] - time.monotonic() * 1000
        self.location_s = welcome["location_ms"] / 1000
        self.online.set()
        self._held &= {job["job"] for job in welcome["jobs"]}
        for job in welcome["jobs"]:
            self._take_on(job)
        if welcome["offer"]:
            self._consider(welcome["offer"])
        if welcome["state"] in {"offline", "paused"}:
            self._do(self._socket.ask, "status", state="available")

    # -- what the engine says

    def _handle(self, frame: Frame) -> None:
        match frame["type"]:
            case "offer":
                now_s = time.monotonic()
                for job in frame["jobs"]:
                    if completed := self._ledger.offered(job["job"], now_s):
                        self._report(*completed, None)
                self._consider(frame)
            case "ping":
                self._socket.send("pong")
            case "offer_closed":
                self._offers.discard(frame["offer"])
                if frame["why"] != "expired":
                    self._ledger.withdrawn(frame["offer"])
            case "job":
                if frame["state"] not in _STEPS_DONE:
                    self._held.discard(frame["job"])
            case "drain":
                self._come_back_s = time.monotonic() + frame["reconnect_after_ms"] / 1000

    def _consider(self, offer: Frame) -> None:
        """Acknowledge an offer, and answer it by habit, or not at all."""
        self._socket.send("offer_ack", offer=offer["offer"])
        if offer["offer"] in self._offers:
            return
        self._offers.add(offer["offer"])
        jobs = [job["job"] for job in offer["jobs"]]
        chance = self._dice.random()
        if chance < self._habits.lapse_share:
            left_s = (offer["expires_ms"] - offer["server_time_ms"]) / 1000
            self._ledger.left_open(offer["offer"], jobs, time.monotonic() + left_s)
        elif chance < self._habits.lapse_share + self._habits.decline_share:
            self._do(self._decline, offer["offer"], jobs)
        else:
            self._do(self._accept, offer["offer"])

    # -- what the driver does

    def _do(self, action: Callable[..., Any], *args: Any, **named: Any) -> None:
        """Do something beside reading. A lost socket ends it: ``welcome`` tells how things are."""

        def quietly() -> None:
            with contextlib.suppress(Offline):
                action(*args, **named)

        self._greenlets.spawn(quietly)

    def _accept(self, offer: str) -> None:
        gevent.sleep(self._habits.think_s)
        if offer not in self._offers:
            return
        self._ledger.withdrawn(offer)  # before a reconnect, it may have been meant to lapse
        sent_s = time.monotonic()
        reply = self._socket.ask("accept", offer=offer)
        self._offers.discard(offer)
        self._report(Measure.ACCEPT, time.monotonic() - sent_s, _refusal(reply))
        for job in reply.get("jobs", ()):
            self._take_on(job)

    def _decline(self, offer: str, jobs: list[str]) -> None:
        gevent.sleep(self._habits.think_s)
        if offer not in self._offers:
            return
        # Written down before it is sent: the next driver's offer may come before the reply.
        self._ledger.declined(offer, jobs, time.monotonic())
        try:
            went_well = _refusal(self._socket.ask("decline", offer=offer)) is None
        except Offline:
            went_well = False
        self._offers.discard(offer)
        if not went_well:
            self._ledger.withdrawn(offer)

    def _take_on(self, job: Frame) -> None:
        if job["job"] not in self._held and job["state"] in _STEPS_DONE:
            self._held.add(job["job"])
            self._greenlets.spawn(self._work_off, job)

    def _work_off(self, job: Frame) -> None:
        """Arrive, collect and deliver in `hold_s`, unless the job is taken away."""
        for step in _STEPS[_STEPS_DONE[job["state"]] :]:
            gevent.sleep(self._habits.hold_s / len(_STEPS))
            while job["job"] in self._held:
                self.online.wait()
                # A step whose answer was lost is told again: it may not have come through.
                with contextlib.suppress(Offline):
                    reply = self._socket.ask(
                        "progress", job=job["job"], attempt=job["attempt"], step=step
                    )
                    if _refusal(reply):
                        self._held.discard(job["job"])
                    break
        self._held.discard(job["job"])

    def _drive(self, seconds: float) -> None:
        """Straight on with a bend now and then; a turn homewards when it has strayed."""
        self._heading += self._dice.uniform(-0.4, 0.4)
        lat, lon = self._home[0] - self.at[0], self._home[1] - self.at[1]
        if math.hypot(lat, lon) > _STRAYS_DEG:
            self._heading = math.atan2(lon, lat)
        self.at = moved(self.at, _SPEED_MPS * min(seconds, 60.0), self._heading)


def _refusal(reply: Frame) -> Exception | None:
    return RuntimeError(reply["code"]) if reply["type"] == "error" else None
