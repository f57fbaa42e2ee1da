"""A driver of the swarm: callbacks and timers, no task of its own.

It knows the engine by the contract alone, as `load_tests.users.driver_app` does; that one waits in
greenlets, this one is a few hundred bytes and some microseconds a frame.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from load_tests.credentials import DriverToken
from load_tests.frames import BadFrame, Frame, pack, unpack
from load_tests.measurements import Measure
from load_tests.places import Point, moved
from load_tests.swarm.event_log import Happened, Notebook
from load_tests.swarm.plan import SwarmPlan
from load_tests.swarm.wire.ws_client import SocketWire
from mallard_client.backoff import FullJitter, may_reconnect

_SPEED_MPS: Final = 8.0
_STRAYS_DEG: Final = 0.02
_CONNECT_WITHIN_S: Final = 15.0
_STEPS: Final = ("at_mall", "picked_up", "delivered")
# How many steps are done in each state of a job that a driver holds.
_STEPS_DONE: Final = {"assigned": 0, "at_mall": 1, "picked_up": 2}
_PONG: Final = pack("pong")


@dataclass(frozen=True, slots=True)
class Base:
    """What all drivers of a worker share."""

    plan: SwarmPlan
    notes: Notebook
    dice: random.Random
    loop: asyncio.AbstractEventLoop
    came_online: Callable[[], None]
    turned_away: Callable[[str], None]


class Phone:
    """One driver, who wants to work from `connect` until `hang_up`."""

    __slots__ = (
        *("_asked", "_attempts", "_base", "_come_back_s", "_connecting", "_heading", "_held"),
        *("_home", "_is_over", "_jitter", "_lapsing", "_lost_s", "_moved_s", "_next_id", "_node"),
        *("_offers", "_offset_ms", "_wire", "at", "is_online", "who"),
    )

    def __init__(self, who: DriverToken, home: Point, node: int, base: Base) -> None:
        self.who = who
        self.at = home
        self.is_online = False
        self._home = home
        self._node = node
        self._base = base
        self._wire: SocketWire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._jitter: FullJitter | None = None
        self._heading = base.dice.uniform(0, math.tau)
        self._moved_s = time.monotonic()
        self._lost_s: float | None = None
        self._come_back_s: float | None = None
        self._is_over = False
        self._offset_ms = 0.0
        self._next_id = 0
        # By the request's id: what was asked, when, and about what.
        self._asked: dict[int, tuple[str, float, Any]] = {}
        self._offers: set[str] = set()  # what is on its screen
        self._lapsing: dict[str, float] = {}  # offers that it leaves open, and their limits
        self._held: dict[str, int] = {}  # its jobs, and their attempts

    def connect(self) -> None:
        """Open a socket and say hello."""
        if not self._is_over:
            self._connecting = self._base.loop.create_task(self._connect())

    def hang_up(self) -> None:
        """Do nothing more."""
        self._is_over = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._wire is not None:
            self._wire.close()

    def report(self, now_s: float) -> None:
        """Drive on a little and send a fix."""
        if self._wire is None or not self.is_online:
            return
        self._drive(min(now_s - self._moved_s, 60.0))
        self._moved_s = now_s
        at_ms = round(now_s * 1000 + self._offset_ms)
        heading_deg = math.degrees(self._heading) % 360
        self._wire.send(pack("location", fixes=[[at_ms, *self.at, 5.0, heading_deg, _SPEED_MPS]]))
        self._base.notes.count("fixes")

    # -- being connected

    async def _connect(self) -> None:
        plan = self._base.plan
        url = urlsplit(plan.target.socket_url(self._node))
        is_tls = url.scheme == "wss"
        wire = SocketWire(
            url.netloc, url.path, opened=self._opened, received=self._received, lost=self._closed
        )
        self._wire = wire
        try:
            async with asyncio.timeout(_CONNECT_WITHIN_S):
                await self._base.loop.create_connection(
                    lambda: wire,
                    url.hostname or "",
                    url.port or (443 if is_tls else 80),
                    ssl=is_tls,
                )
        except OSError:  # a TimeoutError is one
            self._base.notes.count("connect: failed")
            self._closed(1006)
        finally:
            self._connecting = None

    def _opened(self) -> None:
        lat, lon = self.at
        vehicle = {"kind": "car", "max_jobs": 1, "max_weight_g": 60_000, "max_volume_l": 300}
        position = {"lat": lat, "lon": lon, "acc_m": 5.0}
        self._send(pack("hello", token=self.who.token, vehicle=vehicle, position=position))
        if not self._base.plan.awaits_welcome:
            self._is_in()

    def _closed(self, code: int) -> None:
        self._wire = None
        self._asked.clear()
        if self._is_over:
            return
        now_s = time.monotonic()
        if self.is_online:
            self.is_online = False
            self._base.notes.count(f"socket closed: {code}")
            self._lost_s = now_s
        if not may_reconnect(code):
            self._is_over = True
            self._base.turned_away(f"{self.who.driver} was closed with {code}")
            return
        self._node += 1  # another node may be up when this one is not
        if self._jitter is None:
            self._jitter = FullJitter(self._base.dice)
        wait_s = self._jitter.next_s()
        if self._come_back_s is not None:
            wait_s, self._come_back_s = max(0.0, self._come_back_s - now_s), None
        self._base.loop.call_later(wait_s, self.connect)

    def _is_in(self) -> None:
        self.is_online = True
        self._jitter = None
        if self._lost_s is not None:
            self._base.notes.sample(Measure.RECONNECT, self._lost_s, time.monotonic())
            self._lost_s = None
        else:
            self._base.came_online()

    def _welcome(self, welcome: Frame) -> None:
        self._offset_ms = welcome["server_time_ms"] - time.monotonic() * 1000
        self._is_in()
        self._offers.clear()
        for offer in self._lapsing:  # it is considered anew
            self._base.notes.event(time.monotonic(), Happened.WITHDRAWN, offer)
        self._lapsing.clear()
        known, self._held = self._held, {}
        for job in welcome["jobs"]:
            if job["job"] in known:  # its timers run on
                self._held[job["job"]] = job["attempt"]
            else:
                self._take_on(job)
        if welcome["offer"]:
            self._consider(welcome["offer"], time.monotonic())
        if welcome["state"] in {"offline", "paused"}:
            self._ask("status", None, state="available")

    # -- what the engine says

    def _received(self, payload: bytes) -> None:
        now_s = time.monotonic()
        try:
            frame = unpack(payload)
        except BadFrame:
            self._base.notes.count("bad frame")
            return
        match frame["type"]:
            case "reply" | "error":
                self._answered(frame, now_s)
            case "offer":
                for job in frame["jobs"]:
                    self._base.notes.event(now_s, Happened.OFFERED, job["job"])
                self._consider(frame, now_s)
            case "offer_closed":
                self._offer_closed(frame, now_s)
            case "job" if frame["state"] not in _STEPS_DONE:
                self._held.pop(frame["job"], None)
            case "ping":
                self._send(_PONG)
            case "welcome":
                self._welcome(frame)
            case "drain":
                self._come_back_s = now_s + frame["reconnect_after_ms"] / 1000

    def _offer_closed(self, frame: Frame, now_s: float) -> None:
        offer = frame["offer"]
        self._offers.discard(offer)
        limit_s = self._lapsing.pop(offer, None)
        self._base.notes.count(f"offer closed: {frame['why']}")
        if frame["why"] != "expired":
            self._base.notes.event(now_s, Happened.WITHDRAWN, offer)
        elif limit_s is not None:
            # The limit is known to a frame's way here, not better: a fraction of a millisecond.
            self._base.notes.sample(Measure.EXPIRY, limit_s, max(limit_s, now_s))

    def _consider(self, offer: Frame, now_s: float) -> None:
        """Acknowledge an offer, and answer it by habit, or not at all."""
        name = offer["offer"]
        self._send(pack("offer_ack", offer=name))
        if name in self._offers:
            return
        self._offers.add(name)
        self._base.notes.count("offers")
        jobs = [job["job"] for job in offer["jobs"]]
        plan, chance = self._base.plan, self._base.dice.random()
        if chance < plan.lapse_share:
            left_s = (offer["expires_ms"] - offer["server_time_ms"]) / 1000
            self._lapsing[name] = now_s + left_s
            self._base.notes.event(now_s, Happened.LEFT_OPEN, name, jobs, now_s + left_s)
        elif chance < plan.lapse_share + plan.decline_share:
            self._later(plan.think_s, self._decline, name, jobs)
        else:
            self._later(plan.think_s, self._accept, name)

    def _answered(self, frame: Frame, now_s: float) -> None:
        asked = self._asked.pop(frame["id"] or 0, None)
        if asked is None:
            self._base.notes.count(f"error: {frame.get('code')}")
            return
        kind, sent_s, about = asked
        code = frame["code"] if frame["type"] == "error" else None
        match kind:
            case "accept":
                self._offers.discard(about)
                if code:
                    self._base.notes.failure(Measure.ACCEPT, sent_s, code)
                    return
                self._base.notes.sample(Measure.ACCEPT, sent_s, now_s)
                for job in frame["jobs"]:
                    self._take_on(job)
            case "decline":
                self._offers.discard(about)
                if code:
                    self._base.notes.count(f"decline: {code}")
                    self._base.notes.event(now_s, Happened.WITHDRAWN, about)
            case "progress":
                job, done = about
                self._told_step(job, done, sent_s, now_s, code)
            case _ if code:
                self._base.notes.count(f"{kind}: {code}")

    # -- what the driver does

    def _accept(self, offer: str) -> None:
        if offer in self._offers:
            self._ask("accept", offer, offer=offer)

    def _decline(self, offer: str, jobs: list[str]) -> None:
        if offer in self._offers:
            self._base.notes.event(time.monotonic(), Happened.DECLINED, offer, jobs)
            self._ask("decline", offer, offer=offer)

    def _take_on(self, job: Frame) -> None:
        done = _STEPS_DONE.get(job["state"])
        if done is not None and job["job"] not in self._held:
            self._held[job["job"]] = job["attempt"]
            self._later(self._base.plan.hold_s / len(_STEPS), self._step, job["job"], done)

    def _step(self, job: str, done: int) -> None:
        """Tell a step, unless the job was taken away; again after a reconnect."""
        if job not in self._held:
            return
        if not self.is_online:
            self._base.loop.call_later(1.0, self._step, job, done)
            return
        about = (job, done)
        self._ask("progress", about, job=job, attempt=self._held[job], step=_STEPS[done])

    def _told_step(
        self, job: str, done: int, sent_s: float, now_s: float, code: str | None
    ) -> None:
        if code:
            self._held.pop(job, None)
            self._base.notes.failure(Measure.PROGRESS, sent_s, code)
            return
        self._base.notes.sample(Measure.PROGRESS, sent_s, now_s)
        if done + 1 < len(_STEPS):
            self._later(self._base.plan.hold_s / len(_STEPS), self._step, job, done + 1)
        else:
            self._held.pop(job, None)
            self._base.notes.count("delivered")

    def _ask(self, kind: str, about: Any, /, **fields: Any) -> None:
        self._next_id += 1
        self._asked[self._next_id] = (kind, time.monotonic(), about)
        self._send(pack(kind, id=self._next_id, **fields))

    def _send(self, payload: bytes) -> None:
        if self._wire is not None:
            self._wire.send(payload)

    def _later(self, wait_s: float, action: Callable[..., None], *args: Any) -> None:
        if wait_s > 0:
            self._base.loop.call_later(wait_s, action, *args)
        else:
            action(*args)

    def _drive(self, seconds: float) -> None:
        """Straight on with a bend now and then; a turn homewards when it has strayed."""
        self._heading += self._base.dice.uniform(-0.4, 0.4)
        lat, lon = self._home[0] - self.at[0], self._home[1] - self.at[1]
        if math.hypot(lat, lon) > _STRAYS_DEG:
            self._heading = math.atan2(lon, lat)
        self.at = moved(self.at, _SPEED_MPS * seconds, self._heading)
