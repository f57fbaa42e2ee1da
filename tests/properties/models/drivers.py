"""The model of drivers: their connections, positions and limits in time.

Times are epoch milliseconds; `now` is the clock that is passed to the scripts.
"""

import math
from dataclasses import dataclass, field

from mallard_engine.core.matching.acceptance import CELLS
from mallard_engine.core.places.geo import haversine_m
from mallard_engine.core.policy import MarketPolicy

LEASE_MS = 1_500
FUTURE_MS = 5_000
FORGET_DRIVER_MS = 7 * 86_400_000
AGREEING = 3

Place = tuple[float, float]
Room = tuple[int, int]
# A car's usual room.
USUAL: Room = (12, 200_000)


@dataclass
class Fix:
    """An accepted position, and the impossible fixes since (their number and the last one)."""

    received: int
    at: int
    place: Place
    agreeing: int = 0
    odd_at: int = 0
    odd_place: Place = (0.0, 0.0)


@dataclass
class Driver:
    wish: str = "offline"
    until: int | None = None
    connected: bool = False
    node: str = ""
    epoch: int = 0
    lost: int = 0
    cool: int = 0
    suspended: bool = False
    unreachable: bool = False
    offer: str | None = None
    jobs: dict[str, int] = field(default_factory=dict)
    fix: Fix | None = None
    # What its hello states, by number of jobs and weight, and what counts with its registration.
    said: "Room | None" = None
    room: "Room" = USUAL
    # Offer outcomes: (accepted, refused) by cell, then (declined, lapsed) as the last pair.
    history: list[list[int]] = field(default_factory=list)

    def answered(self, cell: int | None, outcome: str) -> None:
        if cell is None:
            return
        self.history = self.history or [[0, 0] for _ in range(CELLS + 1)]
        self.history[cell][outcome != "accepted"] += 1
        if outcome != "accepted":
            self.history[CELLS][outcome == "lapsed"] += 1


class DriverModel:
    """Drivers and the leases of their nodes."""

    def __init__(self, policy: MarketPolicy, now: int) -> None:
        self.policy = policy
        self.now = now
        self.drivers: dict[str, Driver] = {}
        # Registered drivers, with the room of a registered vehicle.
        self.registry: dict[str, Room | None] = {}
        self.leases: dict[str, int] = {}
        self.since: dict[str, int] = {}

    @property
    def stale_ms(self) -> int:
        return math.ceil(self.policy.stale_after_s * 1000)

    @property
    def resume_ms(self) -> int:
        return math.ceil(self.policy.resume_ttl_s * 1000)

    def alive(self, node: str) -> bool:
        return self.leases.get(node, 0) > self.now

    def fresh(self, driver: Driver) -> bool:
        return driver.fix is not None and self.now - driver.fix.received <= self.stale_ms

    def wants_work(self, driver: Driver) -> bool:
        """The conditions of may_be_asked that do not depend on time."""
        return (
            driver.wish == "available"
            and driver.connected
            and not driver.suspended
            and not driver.unreachable
            and driver.offer is None
            and driver.fix is not None
        )

    def may_be_asked(self, driver: Driver) -> bool:
        """Whether the driver may get offers, held jobs aside."""
        return (
            self.wants_work(driver)
            and driver.cool <= self.now
            and (driver.until is None or driver.until > self.now)
            and self.fresh(driver)
            and self.alive(driver.node)
        )

    def free(self) -> set[str]:
        """The drivers who may get offers and hold no job."""
        drivers = self.drivers.items()
        return {name for name, driver in drivers if self.may_be_asked(driver) and not driver.jobs}

    def beat(self, node: str) -> set[str]:
        """Renew a lease; return the dead nodes that this node must report."""
        if not self.alive(node):
            self.since[node] = self.now
        self.leases[node] = self.now + LEASE_MS
        if self.now - self.since[node] < LEASE_MS:
            return set()
        return {name for name, at in self.leases.items() if at <= self.now}

    def register(self, name: str, room: Room | None, *, erased: bool, suspended: bool) -> str:
        """Replace the entry of a driver."""
        if erased:
            self.registry.pop(name, None)
        else:
            self.registry[name] = room
        if suspended or name in self.drivers:
            driver = self.drivers.setdefault(name, Driver())
            driver.suspended = suspended
            self._equip(name)
        return "ok"

    def _equip(self, name: str) -> None:
        """A hello narrows a registered vehicle."""
        driver, registered = self.drivers[name], self.registry.get(name)
        if registered and driver.said:
            driver.room = min(registered[0], driver.said[0]), min(registered[1], driver.said[1])
        else:
            driver.room = registered or driver.said or USUAL

    def hello(self, name: str, node: str, max_jobs: int, max_weight: int) -> None:
        driver = self.drivers.setdefault(name, Driver())
        self._resume(driver)
        driver.epoch += 1
        driver.connected, driver.node, driver.unreachable = True, node, False
        driver.said = max_jobs, max_weight
        self._equip(name)

    def _resume(self, driver: Driver) -> None:
        if not driver.connected and self.now > driver.lost + self.resume_ms:
            driver.wish = "offline"
        if driver.until is not None and driver.until <= self.now:
            driver.wish = "offline"
        if driver.wish == "offline":
            driver.until = None

    def take_back(self, name: str, node: str, epoch: int, wish: str) -> str:
        """The node registers a socket that it still holds."""
        driver = self.drivers.get(name)
        if driver is None:
            self.drivers[name] = Driver(wish, None, connected=True, node=node, epoch=epoch)
            self._equip(name)
            return "back"
        if (driver.connected, driver.node, driver.epoch) == (True, node, epoch):
            return "kept"
        if driver.epoch > epoch or driver.connected:
            return "lost"
        self._resume(driver)
        driver.connected, driver.node = True, node
        return "back"

    def disconnect(self, name: str, node: str, epoch: int) -> None:
        driver = self.drivers.get(name)
        if driver and driver.connected and driver.node == node and epoch in {0, driver.epoch}:
            driver.connected, driver.lost = False, self.now

    def status(self, name: str, wish: str, until: int | None) -> str:
        driver = self.drivers.get(name)
        if driver is None:
            return "no_driver"
        if until is not None and until <= self.now:
            return "bad_field"
        if wish == "available" and not self.fresh(driver):
            return "no_position"
        if wish == "offline" and driver.jobs:
            return "holds_jobs"
        if wish == "offline" and driver.offer:
            return "offer_live"
        driver.wish = wish
        driver.until = until if wish != "offline" else None
        return "ok"

    def seen(self, name: str) -> None:
        if driver := self.drivers.get(name):
            driver.unreachable = False

    def suspend(self, name: str, *, suspended: bool) -> str:
        if name not in self.drivers and name not in self.registry:
            return "no_driver"
        driver = self.drivers.setdefault(name, Driver())
        self._equip(name)
        driver.suspended = suspended
        return "ok"

    def driver_due(self, name: str) -> None:
        driver = self.drivers.get(name)
        if driver is None:
            return
        away = 0 if driver.connected else self.now - driver.lost
        if away >= FORGET_DRIVER_MS and not (driver.jobs or driver.offer or driver.suspended):
            del self.drivers[name]
            return
        block_over = driver.until is not None and driver.until <= self.now
        if away > self.resume_ms or block_over:
            driver.wish, driver.until = "offline", None

    def position(self, name: str, at: int, place: Place, *, inside: bool) -> str:
        driver = self.drivers.get(name)
        if driver is None:
            return "unknown"
        verdict = self._judge(driver, at, place) if inside else "outside"
        if verdict == "ok":
            driver.fix = Fix(self.now, at, place)
        return verdict

    def _judge(self, driver: Driver, at: int, place: Place) -> str:
        fix, is_fresh = driver.fix, self.fresh(driver)
        if at > self.now + FUTURE_MS:
            return "future"
        if not is_fresh and at < self.now - self.stale_ms:
            return "old"
        if fix is None or (is_fresh and (at, place) == (fix.at, fix.place)):
            return "ok"
        return self._judge_after(fix, at, place)

    def _judge_after(self, fix: Fix, at: int, place: Place) -> str:
        if at <= fix.at:
            return "old"
        if self._reachable(fix.place, fix.at, place, at):
            return "ok"
        if fix.agreeing and at <= fix.odd_at:  # a repeated fix does not confirm itself
            return "old"
        agrees = fix.agreeing and self._reachable(fix.odd_place, fix.odd_at, place, at)
        fix.agreeing = fix.agreeing + 1 if agrees else 1
        fix.odd_at, fix.odd_place = at, place
        return "ok" if fix.agreeing == AGREEING else "impossible"

    def _reachable(self, a: Place, a_ms: int, b: Place, b_ms: int) -> bool:
        seconds = max(abs(b_ms - a_ms) / 1000, 1)
        return haversine_m(*a, *b) <= self.policy.max_speed_mps * seconds
